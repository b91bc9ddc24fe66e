import math

import numpy as np
import pytest
import torch

from core.errors import InputError
from core.methods import Method
from core.methods.column_sweep import inverse_factor, sweep
from core.methods.magnitude import Magnitude
from core.methods.sparsegpt import SparseGPT
from core.methods.wanda import Wanda
from core.patterns import NM, Unstructured
from core.statistics import STATISTICS, InputStatistics

ROW, COLUMN, LAYER = Unstructured(group="output"), Unstructured(group="input"), Unstructured(group="layer")
WEIGHT = torch.tensor([[1.0, -2, 3, -4], [0.5, -0.25, 8, 0.125]])


def statistics_of(*sequences: torch.Tensor) -> InputStatistics:
    """All statistics of the inputs [tokens, in] of some calibration sequences."""
    values = {}
    for name in ("norm", "gram"):
        statistic = STATISTICS[name](sequences[0].shape[1], len(sequences), torch.device("cpu"))
        for x in sequences:
            statistic.update(x)
        values[name] = statistic.finish()
    return InputStatistics(values)


def random_layer(rows: int, columns: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """A weight [rows, columns] and correlated inputs [4, 40, columns], some loud and some quiet."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(columns, columns, generator=generator) * torch.rand(columns, generator=generator)
    return torch.randn(rows, columns, generator=generator), torch.randn(4, 40, columns, generator=generator) @ mixing


def naive_keep(scores: np.ndarray, pattern: NM | Unstructured, sparsity: float) -> np.ndarray:
    """Sorts every comparison group by (score, index); a group of an N:M pattern is M consecutive inputs."""
    rows, columns = scores.shape
    every = [(i, j) for i in range(rows) for j in range(columns)]

    def group_of(i: int, j: int) -> tuple[int, int]:
        if isinstance(pattern, NM):
            return i, j // pattern.m
        return {"layer": (0, 0), "output": (i, 0), "input": (0, j)}[pattern.group]

    keep = np.ones(scores.shape, dtype=bool)
    for group in {group_of(*position) for position in every}:
        members = [position for position in every if group_of(*position) == group]
        pruned = pattern.m - pattern.n if isinstance(pattern, NM) else int(len(members) * sparsity)
        for position in sorted(members, key=lambda p: (scores[p], p))[:pruned]:
            keep[position] = False
    return keep


def optimal_brain_surgeon(weight, gram, damping, decide, pattern=None, sparsity=0.0, given=None):
    """SparseGPT as its paper states it, in float64: one inverse per set of remaining inputs, every update at once.

    ``decide``: how many columns share a decision. The inverse loses the row and column of an input when the sweep leaves
    it (Gaussian elimination), whether its weights were pruned or not; nothing is lazy and there is no factorisation.
    """
    w, damped = weight.double().numpy().copy(), gram.double().numpy().copy()
    columns = w.shape[1]
    dead = damped.diagonal() == 0
    damped[dead, dead] = 1
    w[:, dead] = 0
    damped += damping * np.mean(damped.diagonal()) * np.eye(columns)
    # The saliency of column j is measured when only the columns from j on remain.
    pivots = np.array([np.linalg.inv(damped[j:, j:])[0, 0] for j in range(columns)])
    keep = np.ones(w.shape, dtype=bool)
    inverse = np.linalg.inv(damped)
    for j in range(columns):
        if j % decide == 0:
            ahead = slice(j, min(j + decide, columns))
            saliency = w[:, ahead] ** 2 / pivots[ahead]
            keep[:, ahead] = naive_keep(saliency, pattern, sparsity) if given is None else given[:, ahead].numpy()
        for i in range(len(w)):
            if not keep[i, j]:
                w[i, j:] -= w[i, j] / inverse[0, 0] * inverse[0]
                w[i, j] = 0
        inverse = inverse[1:, 1:] - np.outer(inverse[1:, 0], inverse[0, 1:]) / inverse[0, 0]
    return torch.from_numpy(w), torch.from_numpy(keep)


def assert_close(ours: torch.Tensor, reference: torch.Tensor, tolerance: float) -> None:
    """The largest difference is below ``tolerance`` times the largest reference value."""
    assert (ours.double() - reference.double()).abs().max() < tolerance * reference.abs().max()


def given_mask(mask: torch.Tensor):
    return lambda start, saliency: mask[:, start : start + saliency.shape[1]]


@pytest.mark.parametrize(
    ("pattern", "keep"),
    [
        # sorted |W|: 0.125 0.25 0.5 1 | 2 3 4 8
        (LAYER, [[0, 1, 1, 1], [0, 0, 1, 0]]),
        (ROW, [[0, 0, 1, 1], [1, 0, 1, 0]]),
        (COLUMN, [[1, 1, 0, 1], [0, 0, 1, 0]]),
        (NM(n=2, m=4), [[0, 0, 1, 1], [1, 0, 1, 0]]),
        (NM(n=1, m=2), [[0, 1, 0, 1], [1, 0, 1, 0]]),
    ],
)
def test_magnitude_by_hand(pattern, keep):
    result = Magnitude().prune(WEIGHT, InputStatistics({}), pattern, 0.5)
    assert result.keep.int().tolist() == keep
    assert torch.equal(result.weight, WEIGHT * torch.tensor(keep))
    assert result.dead_inputs is None


# Two sequences of two tokens. Sums of squares: 18, 2, 2, 32; over two sequences and rooted: a = 3, 1, 1, 4.
FIRST, SECOND = torch.tensor([[3.0, 1, 1, 4], [1, 1, 0, 0]]), torch.tensor([[2.0, 0, -1, -4], [2, 0, 0, 0]])


@pytest.mark.parametrize(
    ("pattern", "keep"),
    [
        # |W| a = [[3, 2, 3, 16], [1.5, 0.25, 8, 0.5]]; 3 = 3 is a tie, of which the lower index goes
        (ROW, [[0, 0, 1, 1], [1, 0, 1, 0]]),
        (LAYER, [[1, 0, 1, 1], [0, 0, 1, 0]]),
        (COLUMN, [[1, 1, 0, 1], [0, 0, 1, 0]]),
        (NM(n=2, m=4), [[0, 0, 1, 1], [1, 0, 1, 0]]),
        (NM(n=1, m=2), [[1, 0, 0, 1], [1, 0, 1, 0]]),
    ],
)
def test_wanda_by_hand(pattern, keep):
    stats = statistics_of(FIRST, SECOND)
    assert stats["norm"].tolist() == [3, 1, 1, 4]
    result = Wanda().prune(WEIGHT, stats, pattern, 0.5)
    assert result.keep.int().tolist() == keep
    assert torch.equal(result.weight, WEIGHT * torch.tensor(keep))


# H of inputs that belong together in pairs, as [[1.5, -2], [-2, 3.5]]. Damping 0.2 adds 0.2 * 2.5 = 0.5 to the diagonal;
# the inverse of [[2, -2], [-2, 4]] is [[1, 0.5], [0.5, 0.5]] = U'U with U = [[1, 0.5], [0, 0.5]].
def paired_gram(first: tuple[int, int], second: tuple[int, int]) -> torch.Tensor:
    gram = torch.zeros(4, 4)
    for i, j in (first, second):
        gram[i, i], gram[i, j], gram[j, i], gram[j, j] = 1.5, -2.0, -2.0, 3.5
    return gram


def test_the_inverse_factor_by_hand():
    factor = inverse_factor(paired_gram((0, 1), (2, 3)), 0.2)
    expected = torch.tensor([[1, 0.5, 0, 0], [0, 0.5, 0, 0], [0, 0, 1, 0.5], [0, 0, 0, 0.5]])
    torch.testing.assert_close(factor, expected, rtol=1e-5, atol=1e-6)


def test_sparsegpt_unstructured_by_hand():
    # Saliency w^2 / U_jj^2: [4, 100, 1, 64] and [16, 4, 9, 4]. Row 1: e_0 = 2 takes 1 from w_1, e_2 = 1 takes 0.5 from w_3.
    # Row 2 prunes what has nothing to its right to make up for it.
    weight = torch.tensor([[2.0, 5, 1, 4], [-4, 1, 3, 1]])
    stats = InputStatistics({"gram": paired_gram((0, 1), (2, 3))})
    result = SparseGPT(damping=0.2).prune(weight, stats, ROW, 0.5)
    torch.testing.assert_close(result.weight, torch.tensor([[0, 4, 0, 3.5], [-4, 0, 3, 0]]), rtol=1e-5, atol=1e-5)
    assert result.keep.int().tolist() == [[0, 1, 0, 1], [1, 0, 1, 0]]


def test_sparsegpt_decides_a_group_on_weights_already_updated_by_hand():
    # Inputs 0 and 2 belong together, 1 and 3: pivots U_jj = 1, 1, 0.5, 0.5. Row 1: saliency [4, 9] prunes w_0, e = 2 makes
    # w_2 = 1.5 - 1 = 0.5: now [1, 4], so w_2 goes (before the update it was [9, 4]). Row 2: w_1 goes, w_3 = -3 + 1 = -2.
    weight = torch.tensor([[2.0, 3, 1.5, 1], [4, -2, 1, -3]])
    stats = InputStatistics({"gram": paired_gram((0, 2), (1, 3))})
    result = SparseGPT(damping=0.2).prune(weight, stats, NM(n=1, m=2), 0.5)
    torch.testing.assert_close(result.weight, torch.tensor([[0, 3, 0, 1], [4, 0, 0, -2.0]]), rtol=1e-5, atol=1e-5)
    assert result.keep.int().tolist() == [[0, 1, 0, 1], [1, 0, 0, 1]]


@pytest.mark.parametrize("pattern", [LAYER, ROW, COLUMN, NM(n=2, m=4), NM(n=1, m=4), NM(n=4, m=8)])
@pytest.mark.parametrize("method", [Magnitude(), Wanda()])
def test_score_methods_equal_their_formula_written_slowly(method, pattern):
    weight, x = random_layer(10, 16)
    sparsity = 0.37 if pattern.sparsity is None else pattern.sparsity
    scores = np.zeros(weight.shape)
    for i in range(10):
        for j in range(16):
            squares = sum(float(v) ** 2 for v in x[:, :, j].flatten())
            scores[i, j] = abs(float(weight[i, j])) * (math.sqrt(squares / 4) if method.name == "wanda" else 1)
    result = method.prune(weight, statistics_of(*x), pattern, sparsity)
    assert np.array_equal(result.keep.numpy(), naive_keep(scores, pattern, sparsity))
    assert torch.equal(result.weight, torch.where(result.keep, weight, 0.0))


@pytest.mark.parametrize(("method", "group"), [(Magnitude(), LAYER), (Wanda(), ROW), (SparseGPT(), LAYER)])
def test_auto_compares_where_the_method_says(method, group):
    weight, x = random_layer(10, 16)
    own, chosen = (method.prune(weight, statistics_of(*x), pattern, 0.5) for pattern in (Unstructured(), group))
    assert torch.equal(own.keep, chosen.keep)
    others = [method.prune(weight, statistics_of(*x), g, 0.5).keep for g in (LAYER, ROW, COLUMN) if g != group]
    assert not any(torch.equal(own.keep, other) for other in others)


@pytest.mark.parametrize(
    ("columns", "blocksize", "pattern", "decide"),
    [
        (20, 128, LAYER, 20),
        (20, 8, LAYER, 8),  # the last block holds four columns
        (20, 8, ROW, 8),
        (20, 8, COLUMN, 8),
        (24, 128, NM(n=2, m=4), 4),
        (24, 8, NM(n=4, m=8), 8),
        (24, 4, NM(n=4, m=8), 8),  # a group wider than a block
        (12, 8, NM(n=3, m=6), 6),  # M does not divide the block
        (36, 128, NM(n=3, m=6), 6),
        (24, 16, NM(n=1, m=4), 4),
        (32, 16, NM(n=5, m=16), 16),
    ],
)
def test_sparsegpt_equals_optimal_brain_surgery_written_slowly(columns, blocksize, pattern, decide):
    weight, x = random_layer(6, columns)
    stats = statistics_of(*x)
    sparsity = 0.45 if pattern.sparsity is None else pattern.sparsity
    result = SparseGPT(blocksize=blocksize).prune(weight, stats, pattern, sparsity)
    slow, keep = optimal_brain_surgeon(weight, stats["gram"], 0.01, decide, pattern, sparsity)
    assert torch.equal(result.keep, keep)
    assert_close(result.weight, slow, 1e-4)
    assert (result.weight[~result.keep] == 0).all()


@pytest.mark.parametrize("blocksize", [1, 7, 8, 128])
def test_the_sweep_for_a_given_mask_equals_optimal_brain_surgery(blocksize):
    weight, x = random_layer(6, 20)
    gram = statistics_of(*x)["gram"]
    mask = torch.rand(6, 20, generator=torch.Generator().manual_seed(3)) < 0.5
    updated, keep = sweep(weight, inverse_factor(gram, 0.01), given_mask(mask), blocksize)
    slow, _ = optimal_brain_surgeon(weight, gram, 0.01, 20, given=mask)
    assert torch.equal(keep, mask)
    assert_close(updated, slow, 1e-4)


@pytest.mark.parametrize(("blocksize", "span"), [(1, None), (5, None), (32, None), (64, None), (16, 4), (8, 16)])
def test_for_a_given_mask_the_block_size_changes_nothing(blocksize, span):
    weight, x = random_layer(8, 64)
    factor = inverse_factor(statistics_of(*x)["gram"], 0.01)
    mask = torch.rand(8, 64, generator=torch.Generator().manual_seed(4)) < 0.5
    before = weight.clone()
    reference, _ = sweep(weight, factor, given_mask(mask), 128)
    updated, keep = sweep(weight, factor, given_mask(mask), blocksize, span)
    assert torch.equal(weight, before)
    assert torch.equal(keep, mask)
    assert_close(updated, reference, 1e-5)


def test_without_anything_to_prune_the_sweep_changes_nothing():
    weight, x = random_layer(4, 12)
    updated, keep = sweep(weight, inverse_factor(statistics_of(*x)["gram"], 0.01), lambda _, s: s >= 0, 5)
    assert torch.equal(updated, weight)
    assert keep.all()


def test_the_update_beats_the_mask_alone():
    weight, x = random_layer(12, 32)
    result = SparseGPT().prune(weight, statistics_of(*x), NM(), 0.5)
    flat = x.flatten(0, 1)
    lost = (flat @ (weight - result.weight).T).norm()
    assert lost < 0.8 * (flat @ (weight * ~result.keep).T).norm()


@pytest.mark.parametrize("pattern", [LAYER, NM(n=2, m=4)])
def test_dead_inputs_are_zeroed_and_told_apart_from_the_mask(pattern):
    weight, x = random_layer(6, 16)
    x *= 0.05  # so quiet that the ones in place of the dead inputs' zeros count in the mean of the diagonal
    x[:, :, [2, 9]] = 0
    stats = statistics_of(*x)
    result = SparseGPT().prune(weight, stats, pattern, 0.5)
    slow, keep = optimal_brain_surgeon(weight, stats["gram"], 0.01, pattern.span or 16, pattern, 0.5)
    assert result.dead_inputs.nonzero().flatten().tolist() == [2, 9]
    assert torch.equal(result.keep, keep)
    assert int((~result.keep).sum()) == 48
    assert (result.weight[:, [2, 9]] == 0).all()
    assert_close(result.weight, slow, 1e-4)


def test_an_input_that_never_spoke_costs_wanda_nothing():
    weight, x = random_layer(6, 16)
    x[:, :, 5] = 0
    keep = Wanda().prune(weight, statistics_of(*x), ROW, 0.25).keep
    assert not keep[:, 5].any()


def test_a_singular_gram_matrix_is_told_with_the_way_out():
    gram = torch.tensor([[1.0, 5.0], [5.0, 1.0]])
    with pytest.raises(InputError, match=r"damping = 0.01 leaves the Gram matrix singular; raise it"):
        SparseGPT().prune(torch.ones(2, 2), InputStatistics({"gram": gram}), LAYER, 0.5)


def test_the_factor_is_computed_once_per_input_and_damping(monkeypatch):
    calls = []
    compute = torch.linalg.cholesky

    def counted(*args, **kwargs):
        calls.append(args)
        return compute(*args, **kwargs)

    monkeypatch.setattr(torch.linalg, "cholesky", counted)
    weight, x = random_layer(4, 8)
    stats = statistics_of(*x)
    SparseGPT().prune(weight, stats, LAYER, 0.5)
    once = len(calls)
    SparseGPT().prune(2 * weight, stats, LAYER, 0.5)
    assert len(calls) == once
    SparseGPT(damping=0.1).prune(weight, stats, LAYER, 0.5)
    assert len(calls) == 2 * once


@pytest.mark.parametrize("pattern", [LAYER, ROW, COLUMN, NM(n=2, m=4)])
@pytest.mark.parametrize("method", [Magnitude(), Wanda(), SparseGPT(), SparseGPT(blocksize=8)])
def test_arguments_are_left_as_they_are(method, pattern):
    weight, x = random_layer(6, 16)
    x[:, :, 3] = 0
    stats = statistics_of(*x)
    before = weight.clone(), stats["norm"].clone(), stats["gram"].clone()
    method.prune(weight, stats, pattern, 0.5)
    assert all(torch.equal(a, b) for a, b in zip((weight, stats["norm"], stats["gram"]), before, strict=True))


@pytest.mark.parametrize("name", sorted(Method.registry))
def test_every_method_says_what_it_is_and_needs_known_statistics(name):
    method = Method.registry[name]
    assert all([method.title, method.summary, method.reference, method.__doc__])
    assert method.needs <= set(STATISTICS)
