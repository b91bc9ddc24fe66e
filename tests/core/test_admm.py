"""ADMM: against direct solves row by row, SparseGPT under the same mask, and the paper's program written slowly."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.config import RunConfig
from core.errors import InputError, explain
from core.methods.admm import ADMM
from core.methods.masked_least_squares import SMALL, Gradual, Start, admm, conjugate_gradients, cut
from core.methods.sparsegpt import SparseGPT
from core.patterns import NM, Unstructured
from core.stages.admm import ADMMUpdate
from core.statistics import InputStatistics

LAYER, ROW = Unstructured(group="layer"), Unstructured(group="output")


def material(seed: int, rows: int = 20, columns: int = 48, tokens: int = 400):
    """Weights [out, in], inputs [tokens, in] that hang together, some of them loud, and what is known of them."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator) / columns**0.5 + torch.eye(columns)
    x = torch.randn(tokens, columns, generator=generator) @ mixing
    x *= torch.rand(columns, generator=generator) ** 2 * 20 + 0.01
    return torch.randn(rows, columns, generator=generator), x, InputStatistics({"gram": 2 * x.T @ x / 4})


def lost(dense, pruned, x) -> float:
    """``|X (W - W')^T|^2``."""
    return float((x.double() @ (dense - pruned).double().T).square().sum())


def direct(dense, keep, x):
    """The best survivors, row after row, in float64."""
    best = torch.zeros_like(dense, dtype=torch.float64)
    for i in range(len(dense)):
        target = x.double() @ dense[i].double()
        best[i, keep[i]] = torch.linalg.lstsq(x[:, keep[i]].double(), target).solution
    return best


@pytest.mark.parametrize("pattern", [LAYER, ROW, NM(n=2, m=4), NM(n=1, m=4), NM(n=4, m=8)], ids=lambda p: p.label)
@pytest.mark.parametrize("seed", range(3))
def test_its_survivors_are_the_best_for_its_mask(seed, pattern):
    dense, x, stats = material(seed)
    found = ADMM().prune(dense, stats, pattern, pattern.sparsity or 0.6)
    assert pattern.violation(found.keep, pattern.sparsity or 0.6) is None
    assert (found.weight[~found.keep] == 0).all()
    assert lost(dense, found.weight, x) <= 1.001 * lost(dense, direct(dense, found.keep, x), x)


@pytest.mark.parametrize("method", [SparseGPT(), SparseGPT(selection="matrix")])
@pytest.mark.parametrize("pattern", [LAYER, ROW, NM(n=2, m=4)], ids=lambda p: p.label)
@pytest.mark.parametrize("seed", range(3))
def test_under_the_same_mask_it_loses_no_more_than_sparsegpt(seed, pattern, method):
    dense, x, stats = material(seed)
    theirs = method.prune(dense, stats, pattern, pattern.sparsity or 0.6)
    for ours in (
        ADMM().apply(dense, theirs.keep, stats),
        ADMMUpdate().update(dense, theirs, stats),
        ADMMUpdate(iterations=1).update(dense, theirs, stats),
    ):
        assert torch.equal(ours.keep, theirs.keep)
        assert lost(dense, ours.weight, x) <= 1.001 * lost(dense, theirs.weight, x)
        assert lost(dense, ours.weight, x) <= 1.001 * lost(dense, direct(dense, theirs.keep, x), x)
    assert lost(dense, ours.weight, x) < 0.9 * lost(dense, theirs.weight, x), "or this tests nothing"


@pytest.mark.parametrize("pattern", [LAYER, ROW, NM(n=2, m=4)], ids=lambda p: p.label)
def test_wide_matrices_come_close_in_the_steps_they_are_given(pattern):
    dense, x, stats = material(0, 64, SMALL + 64, 1500)
    theirs = SparseGPT().prune(dense, stats, pattern, 0.5)
    assert lost(dense, ADMM().apply(dense, theirs.keep, stats).weight, x) <= 1.001 * lost(dense, theirs.weight, x)
    own = ADMM().prune(dense, stats, pattern, 0.5)
    assert lost(dense, own.weight, x) <= 1.05 * lost(dense, direct(dense, own.keep, x), x)
    assert lost(dense, own.weight, x) < lost(dense, theirs.weight, x), "and its own mask is the better one"


def test_two_inputs_by_hand():
    """Inputs x and y of norm 1 with correlation 1/2: w = (2, 1); without y, x takes over half of it: 2.5."""
    stats = InputStatistics({"gram": torch.tensor([[1.0, 0.5], [0.5, 1.0]])})
    found = ADMM(damping=1e-6).apply(torch.tensor([[2.0, 1.0]]), torch.tensor([[True, False]]), stats)
    torch.testing.assert_close(found.weight, torch.tensor([[2.5, 0.0]]), rtol=1e-4, atol=0)
    own = ADMM(damping=1e-6).prune(torch.tensor([[2.0, 1.0]]), stats, ROW, 0.5)
    assert own.keep.tolist() == [[True, False]]
    # with y ten times as loud it is w_y that stays: |w| * norm = 2 against 10, and takes 2 * 5 / 100
    stats = InputStatistics({"gram": torch.tensor([[1.0, 5.0], [5.0, 100.0]])})
    loud = ADMM(damping=1e-6).prune(torch.tensor([[2.0, 1.0]]), stats, ROW, 0.5)
    torch.testing.assert_close(loud.weight, torch.tensor([[0.0, 1.1]]), rtol=1e-4, atol=0)


def slow_admm(dense, gram, sparsity, iterations, rho):
    """Section 3 of the paper with one mask for the whole matrix, in float64; every mask exact."""
    w0, u = dense.double(), torch.zeros_like(dense, dtype=torch.float64)
    inverse = torch.linalg.inv(gram.double() + rho * torch.eye(len(gram)))
    w = w0
    for t in range(1, iterations + 1):
        share = sparsity - sparsity * (1 - t / iterations) ** 3
        order = (w + u).abs().reshape(-1).argsort()
        mask = torch.ones(w.numel(), dtype=torch.float64)
        mask[order[: int(w.numel() * share)]] = 0
        z = (w + u) * mask.reshape(w.shape)
        u = u + w - z
        w = (w0 @ gram.double() + rho * (z - u)) @ inverse
    return z


@pytest.mark.parametrize("rho", [0.3, 1.0, 4.0])
def test_without_relaxation_it_is_the_paper_s(rho):
    """So few weights that the sample of which cuts are taken is all of them."""
    dense, _, stats = material(5, 10, 24)
    space = ADMM(rho=rho).space(stats)
    scaled = dense * space.scale
    expected = slow_admm(scaled, space.gram, 0.5, 8, rho)
    found = admm(scaled, space.inverse, Gradual(LAYER, 0.5, 8), 8, rho, 1.0)
    torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-4)


def test_every_input_has_norm_one_in_its_space():
    _, x, stats = material(1)
    space = ADMM(damping=0.25, rho=2).space(stats)
    unit = (x / x.norm(dim=0)).double()
    expected = unit.T @ unit + 0.25 * torch.eye(48)
    torch.testing.assert_close(space.gram.double(), expected, rtol=1e-4, atol=1e-5)
    inverse = torch.linalg.inv(expected + 2 * torch.eye(48))
    torch.testing.assert_close(space.inverse.double(), inverse, rtol=1e-3, atol=1e-5)
    assert ADMM(damping=0.25, rho=2).space(stats).inverse is space.inverse, (
        "one factorisation for all that share the input"
    )
    assert ADMM(damping=0.25, rho=1).space(stats).inverse is not space.inverse


@given(
    seed=st.integers(0, 10**6),
    pattern=st.sampled_from([LAYER, ROW, Unstructured(group="input"), NM(n=2, m=4), NM(n=1, m=2)]),
    sparsity=st.sampled_from([0.0, 0.01, 0.37, 0.9]),
    iterations=st.sampled_from([1, 2, 7]),
)
def test_counts_are_exact_and_more_goes_in_every_iteration(seed, pattern, sparsity, iterations):
    sparsity = pattern.sparsity or sparsity
    dense, _, stats = material(seed, 12, 24, 60)
    found = ADMM(iterations=iterations).prune(dense, stats, pattern, sparsity)
    assert pattern.violation(found.keep, sparsity) is None
    gradual, before = Gradual(pattern, sparsity, iterations), -1
    for t in range(iterations):
        gone = int((gradual(t, dense) == 0).sum())
        share = sparsity * (1 - (1 - (t + 1) / iterations) ** 3)
        assert before <= gone
        assert gone == pytest.approx(share * dense.numel(), abs=24)  # groups lose whole weights
        before = gone


@pytest.mark.parametrize("share", [0.1, 0.35, 0.49, 0.5])
@pytest.mark.parametrize("shape", [(300, 576), (576, 1536), (7, 96)])
def test_a_cut_from_a_sample_is_near_and_never_infinite(shape, share):
    scores = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    scores[scores > 0.5] = torch.inf
    assert cut(scores, share) == pytest.approx(share, abs=0.05 if shape[0] == 7 else 0.01)
    assert cut(scores, 0.9) <= 0.5


def test_the_finish_never_goes_up_and_ends_at_the_optimum():
    dense, _, stats = material(2)
    space = ADMM().space(stats)
    scaled, mask = dense * space.scale, (torch.rand(20, 48, generator=torch.Generator().manual_seed(3)) > 0.5).float()
    start, objectives = Start(scaled * mask, mask), []
    for steps in range(0, 40, 2):
        change = scaled - conjugate_gradients(scaled, space.gram, start, steps)
        objectives.append(float((change.double() @ space.gram.double() * change).sum()))
    assert all(later <= before * (1 + 1e-5) for before, later in itertools.pairwise(objectives))
    assert torch.equal(start.weight, scaled * mask), "what it is given stays"
    best = 0.0
    for i in range(20):
        on = mask[i].bool()
        gram = space.gram.double()
        solution = torch.linalg.solve(gram[on][:, on], gram[on] @ scaled[i].double())
        change = scaled[i].double().clone()
        change[on] -= solution
        best += float(change @ gram @ change)
    assert objectives[-1] <= 1.001 * best


def test_dead_inputs_are_told_and_their_weights_zeroed():
    dense, x, _ = material(4)
    x[:, [3, 7]] = 0
    found = ADMM().prune(dense, InputStatistics({"gram": x.T @ x}), NM(n=2, m=4), 0.5)
    assert found.dead_inputs.nonzero().flatten().tolist() == [3, 7]
    assert (found.weight[:, [3, 7]] == 0).all()
    assert found.weight.isfinite().all()


def test_inputs_that_are_not_finite_are_told():
    dense, _, stats = material(0)
    broken = InputStatistics({"gram": stats["gram"].fill_(torch.nan)})
    with pytest.raises(InputError, match="not finite"):
        ADMM().prune(dense, broken, LAYER, 0.5)


def test_fewer_tokens_than_inputs_are_no_trouble():
    dense, x, stats = material(0, 20, 48, 10)
    found = ADMM().prune(dense, stats, LAYER, 0.5)
    assert found.weight.isfinite().all()
    assert lost(dense, found.weight, x) < 0.1 * lost(dense, dense * found.keep, x)


@pytest.mark.parametrize(
    ("values", "sides"),
    [
        ({"method": "admm", "stages": ["admm"]}, ["stage = admm", "method = admm"]),
        ({"method": "admm", "stages": ["reconstruction"]}, ["stage = reconstruction", "method = admm"]),
        ({"method": {"method": "sparsegpt", "bits": 4}, "stages": ["admm"]}, ["stage = admm", "sparsegpt", "bits"]),
        ({"stages": ["admm", "reconstruction"]}, ["admm", "reconstruction"]),
        ({"stages": ["admm", "barber"]}, ["stage = barber", "stage = admm"]),
        ({"method": "admm", "pattern": "2:4", "stages": ["reallocation"]}, ["stage = reallocation", "method = admm"]),
    ],
)
def test_what_it_does_not_go_with_is_refused(values, sides):
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate(values)
    assert all(side in explain(caught.value) for side in sides)
