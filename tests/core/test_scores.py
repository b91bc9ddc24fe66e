"""RI, RIA, ClearCut and the Wanda variant; and what holds of every score."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.errors import InputError
from core.methods import Method, ScoreMethod
from core.methods.clearcut import ClearCut
from core.methods.ria import RI, RIA
from core.methods.sparsegpt import SparseGPT
from core.methods.wanda_variant import WandaVariant, prune_adaptively, prune_share
from core.patterns import NM, Unstructured
from core.statistics import InputStatistics

LAYER, ROW, COLUMN = (Unstructured(group=group) for group in ("layer", "output", "input"))
# Every method that scores a matrix at once.
SCORES = {name: cls() for name, cls in sorted(Method.registry._classes.items()) if issubclass(cls, ScoreMethod)} | {
    "sparsegpt-matrix": SparseGPT(selection="matrix")
}

# Rows sum to 8 and 4, columns to 2, 4, 4, 2.
#   share of the column   share of the row      both (RI)
#   1/2 1/2 3/4 1         1/8 1/4 3/8 1/4       0.625 0.75 1.125 1.25
#   1/2 1/2 1/4 0         1/4 1/2 1/4 0         0.75  1    0.5   0
WEIGHT = torch.tensor([[1.0, -2, 3, 2], [-1, 2, -1, 0]])
STATS = InputStatistics({"norm": torch.tensor([4.0, 1, 1, 16])})  # to the power 1/2: 2, 1, 1, 4


@pytest.mark.parametrize(
    ("method", "score"),
    [
        (RI(), [[0.625, 0.75, 1.125, 1.25], [0.75, 1, 0.5, 0]]),
        (RIA(power=0), [[0.625, 0.75, 1.125, 1.25], [0.75, 1, 0.5, 0]]),
        (RIA(), [[1.25, 0.75, 1.125, 5], [1.5, 1, 0.5, 0]]),
        (RIA(power=1), [[2.5, 0.75, 1.125, 20], [3, 1, 0.5, 0]]),
        # RI and twice the product of both shares, 1/8 1/4 9/16 1/2 and 1/4 1/2 1/8 0, times 2, 1, 1, 4
        (ClearCut(interaction=2), [[1.5, 1, 1.6875, 7], [2, 1.5, 0.625, 0]]),
        (ClearCut(interaction=0), [[1.25, 0.75, 1.125, 5], [1.5, 1, 0.5, 0]]),
        (ClearCut(interaction=2, power=0), [[0.75, 1, 1.6875, 1.75], [1, 1.5, 0.625, 0]]),
    ],
)
def test_scores_by_hand(method, score):
    torch.testing.assert_close(method.score(WEIGHT, STATS), torch.tensor(score))


@pytest.mark.parametrize(
    ("method", "pattern", "keep"),
    [
        # Over the matrix: 0 0.5 0.625 0.75 go (of two 0.75 the first), 0.75 1 1.125 1.25 stay.
        (RI(), Unstructured(), [[0, 0, 1, 1], [1, 1, 0, 0]]),
        (RI(), NM(n=1, m=2), [[0, 1, 0, 1], [0, 1, 1, 0]]),
        (RIA(), Unstructured(), [[1, 0, 1, 1], [1, 0, 0, 0]]),
        (RIA(), ROW, [[1, 0, 0, 1], [1, 1, 0, 0]]),
        (RIA(), NM(), [[1, 0, 0, 1], [1, 1, 0, 0]]),
        (ClearCut(interaction=2), Unstructured(), [[0, 0, 1, 1], [1, 1, 0, 0]]),
        (ClearCut(interaction=2), LAYER, [[0, 0, 1, 1], [1, 1, 0, 0]]),
        (ClearCut(interaction=2), NM(n=1, m=2), [[1, 0, 0, 1], [1, 0, 1, 0]]),
    ],
)
def test_masks_by_hand(method, pattern, keep):
    result = method.prune(WEIGHT, STATS, pattern, 0.5)
    assert result.keep.int().tolist() == keep
    assert torch.equal(result.weight, WEIGHT * torch.tensor(keep))


def random_layer(rows: int, columns: int) -> tuple[torch.Tensor, InputStatistics]:
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(40, columns, generator=generator) * torch.rand(columns, generator=generator)
    stats = InputStatistics({"norm": x.norm(dim=0), "gram": x.T @ x})
    return torch.randn(rows, columns, generator=generator), stats


def relative(power: float, interaction: float = 0.0, epsilon: float = 0.0):
    def score(weight: list[list[float]], norm: list[float], i: int, j: int) -> float:
        size = abs(weight[i][j])
        row = sum(abs(w) for w in weight[i]) + epsilon
        column = sum(abs(line[j]) for line in weight) + epsilon
        return (size / column + size / row + interaction * size**2 / (row * column)) * norm[j] ** power

    return score


@pytest.mark.parametrize(
    ("method", "slow"),
    [
        (RI(), relative(0)),
        (RIA(), relative(0.5)),
        (RIA(power=2), relative(2)),
        (ClearCut(), relative(0.5, 0.1, 1e-8)),
        (ClearCut(power=1, interaction=3, epsilon=0.5), relative(1, 3, 0.5)),
    ],
)
def test_scores_equal_the_formula_written_slowly(method, slow):
    weight, stats = random_layer(7, 12)
    w, a = weight.double().tolist(), stats["norm"].double().tolist()
    expected = torch.tensor([[slow(w, a, i, j) for j in range(12)] for i in range(7)])
    torch.testing.assert_close(method.score(weight, stats), expected, rtol=1e-5, atol=0)
    for pattern in (Unstructured(), ROW, COLUMN, NM(), NM(n=1, m=6)):
        sparsity = 0.4 if pattern.sparsity is None else pattern.sparsity
        keep = pattern.resolve(method.group).keep(expected, sparsity)
        assert torch.equal(method.prune(weight, stats, pattern, sparsity).keep, keep)


@pytest.mark.parametrize(("method", "group"), [(RI(), LAYER), (RIA(), LAYER), (ClearCut(), ROW), (WandaVariant(), ROW)])
def test_auto_compares_where_the_method_says(method, group):
    weight, stats = random_layer(7, 12)
    own, chosen = (method.prune(weight, stats, pattern, 0.4).keep for pattern in (Unstructured(), group))
    assert torch.equal(own, chosen)
    assert method.group == group.group


@pytest.mark.parametrize("method", [RI(), RIA(), ClearCut()], ids=lambda method: method.name)
def test_an_empty_row_or_column_scores_zero(method):
    weight = torch.tensor([[0.0, 2, -1], [0, 0, 0]])
    score = method.score(weight, InputStatistics({"norm": torch.ones(3)}))
    assert score.isfinite().all()
    assert ((score > 0) == (weight != 0)).all()


# Rows that sum to 8 and 4. Within 0.4: 1 + 1 of 3.2 and 1 of 1.6; within a half: 1 + 1 + 2 of 4 and 1 + 1 of 2.
VARIANT = torch.tensor([[4.0, 1, -2, 1], [1, -1, 1, 1]])


@pytest.mark.parametrize(
    ("share", "pruned"),
    [
        (0.1, [[0, 0, 0, 0], [0, 0, 0, 0]]),
        (0.4, [[0, 1, 0, 1], [1, 0, 0, 0]]),
        (0.5, [[0, 1, 1, 1], [1, 1, 0, 0]]),
        (1.0, [[1, 1, 1, 1], [1, 1, 1, 1]]),
    ],
)
def test_a_share_of_the_row_by_hand(share, pruned):
    assert prune_share(VARIANT.abs(), share).int().tolist() == pruned


@pytest.mark.parametrize(
    ("sparsity", "share", "count"),
    [
        (0.375, 0.4, 3),  # at once
        (0.625, 0.6, 5),  # at the second try
        (0.125, 0.2, 1),  # 1 of 1.6 goes, 1 of 0.8 stays
    ],
)
def test_the_share_is_bisected_by_hand(sparsity, share, count):
    pruned, found = prune_adaptively(VARIANT.abs(), sparsity)
    assert (found, int(pruned.sum())) == (pytest.approx(share), count)
    result = WandaVariant().prune(VARIANT, InputStatistics({"norm": torch.ones(4)}), Unstructured(), sparsity)
    assert torch.equal(result.keep, ~pruned)
    assert torch.equal(result.weight, VARIANT * ~pruned)


def test_the_search_ends_where_no_share_gives_the_sparsity():
    """Below a half 3 weights go, from a half on 5."""
    pruned, found = prune_adaptively(VARIANT.abs(), 0.5)
    assert found == pytest.approx(0.5, abs=0.001)
    assert int(pruned.sum()) == (3 if found < 0.5 else 5)


def slow_variant(scores: np.ndarray, target: float) -> np.ndarray:
    def pruned_within(share: float) -> np.ndarray:
        pruned = np.zeros(scores.shape, dtype=bool)
        for i, row in enumerate(scores):
            total = 0.0
            for j in sorted(range(len(row)), key=lambda j: row[j]):
                total += row[j]
                pruned[i, j] = total <= share * sum(row)
        return pruned

    low, high, share = 0.0, 0.8, 0.4
    while True:
        pruned = pruned_within(share)
        if abs(pruned.mean() - target) <= 0.001 or high - low < 0.001:
            return pruned
        low, high = (low, share) if pruned.mean() > target else (share, high)
        share = (low + high) / 2


@pytest.mark.parametrize("sparsity", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_the_wanda_variant_equals_its_rule_written_slowly(sparsity):
    weight, stats = random_layer(20, 50)
    keep = WandaVariant().prune(weight, stats, Unstructured(), sparsity).keep
    slow = slow_variant((weight.abs().double() * stats["norm"].double()).numpy(), sparsity)
    assert np.array_equal(~keep.numpy(), slow)
    assert float((~keep).double().mean()) == pytest.approx(sparsity, abs=0.002)
    assert len(set(keep.sum(dim=1).tolist())) > 1, "rows lose what they can spare"


def test_the_wanda_variant_prunes_nothing_at_zero():
    assert WandaVariant().prune(VARIANT, InputStatistics({"norm": torch.ones(4)}), ROW, 0.0).keep.all()


@pytest.mark.parametrize("method", [*SCORES.values(), WandaVariant()], ids=[*SCORES, "wanda_variant"])
def test_weights_that_are_no_numbers_are_told(method):
    stats = InputStatistics({"norm": torch.ones(4), "gram": torch.eye(4)})
    with pytest.raises(InputError, match="not numbers"):
        method.prune(torch.tensor([[1.0, math.nan, 2, 3]]), stats, Unstructured(), 0.5)


# Small integers: sums and powers of two are exact, ties are many, whole rows and columns may be zero.
integers = st.tuples(st.integers(1, 6), st.sampled_from([4, 8])).flatmap(
    lambda shape: arrays("float32", shape, elements=st.integers(-4, 4).map(float))
)
weights = integers.map(torch.from_numpy)


def plain_stats(columns: int) -> InputStatistics:
    norm = 1.0 + torch.arange(columns) % 3
    return InputStatistics({"norm": norm, "gram": torch.diag(norm.square())})


@pytest.mark.parametrize("method", SCORES.values(), ids=SCORES)
@given(weights, st.integers(0, 10))
def test_a_scale_changes_no_rank(method, weight, power):
    stats = plain_stats(weight.shape[1])
    plain, scaled = method.score(weight, stats), method.score(weight * 2**power, stats)
    assert torch.equal(*(score.flatten().argsort(stable=True) for score in (plain, scaled)))
    flat, scaled_flat = plain.flatten(), scaled.flatten()
    assert torch.equal(flat[:, None] < flat, scaled_flat[:, None] < scaled_flat), "ties stay ties"


@given(weights, st.integers(-10, 10), st.floats(0.05, 0.75))
def test_a_scale_changes_no_mask_of_the_wanda_variant(weight, power, sparsity):
    stats = plain_stats(weight.shape[1])
    results = [WandaVariant().prune(w, stats, ROW, sparsity) for w in (weight, weight * 2.0**power)]
    assert torch.equal(results[0].keep, results[1].keep)


@pytest.mark.parametrize("method", SCORES.values(), ids=SCORES)
@given(weights, st.randoms(use_true_random=False))
def test_permuted_rows_have_permuted_scores_and_masks(method, weight, random):
    order, stats = random.sample(range(len(weight)), len(weight)), plain_stats(weight.shape[1])
    scores, permuted = method.score(weight, stats), method.score(weight[order], stats)
    assert torch.equal(permuted, scores[order])
    for pattern in (ROW, NM()):  # compared within a row; over the matrix, ties go by position
        keep, other = (pattern.keep(s, 0.5) for s in (scores, permuted))
        assert torch.equal(other, keep[order])


@pytest.mark.parametrize("method", SCORES.values(), ids=SCORES)
@given(weights, st.sampled_from(["auto", "layer", "output", "input", "2:4", "1:4"]), st.floats(0, 0.99))
def test_counts_are_exact(method, weight, text, sparsity):
    pattern = NM.parse(text) if ":" in text else Unstructured(group=text)
    sparsity = sparsity if pattern.sparsity is None else pattern.sparsity
    result = method.prune(weight, plain_stats(weight.shape[1]), pattern, sparsity)
    pruned, group = ~result.keep, method.group if text == "auto" else text
    groups = {"layer": pruned.reshape(1, -1), "output": pruned, "input": pruned.T}.get(group, pruned.reshape(-1, 4))
    assert (groups.sum(dim=1) == int(groups.shape[1] * sparsity)).all()
    assert (result.weight[pruned] == 0).all()
