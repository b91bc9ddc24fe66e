"""LLM-Barber and low rank: by hand, written slowly, and what always holds."""

import math
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.methods import Pruned
from core.patterns import NM, Unstructured
from core.stages.barber import Barber, mismatched, paired, rebuild, swap, swap_within
from core.stages.base import Group, Refined
from core.stages.low_rank import LowRank

ROW = Unstructured(group="output")
GRANULARITIES = ["block", "layer", "output1", "input1"]


@pytest.mark.parametrize(
    ("threshold", "grown", "cut"),
    [
        # pruned 9 7 2 1 against kept 3 4 5 6: two of the pairs are mismatched
        (1.0, [[0, 1, 0, 1, 0, 0, 0, 0]], [[1, 0, 1, 0, 0, 0, 0, 0]]),
        (0.5, [[0, 1, 0, 0, 0, 0, 0, 0]], [[1, 0, 0, 0, 0, 0, 0, 0]]),
        (0.49, [[0] * 8], [[0] * 8]),
    ],
)
def test_mismatched_pairs_are_swapped_by_hand(threshold, grown, cut):
    metric = torch.tensor([[3.0, 9, 4, 7, 5, 2, 6, 1]])
    keep = torch.tensor([[1, 0, 1, 0, 1, 0, 1, 0]]).bool()
    assert [result.int().tolist() for result in swap(metric, keep, threshold)] == [grown, cut]


def test_a_swap_within_a_group_must_raise_the_metric_by_hand():
    """2:4: 9 takes the place of 3; 5 would take that of 5, which it does not exceed; a group may want nothing."""
    metric = torch.tensor([[3.0, 9, 5, 5], [1, 2, 3, 4]])
    keep = torch.tensor([[1, 0, 1, 0], [1, 1, 0, 0]]).bool()
    wanted = torch.tensor([[0, 1, 0, 1], [0, 0, 0, 0]]).bool()
    assert swap_within(metric, keep, wanted).int().tolist() == [[0, 1, 1, 0], [1, 1, 0, 0]]


def told(*gradients: torch.Tensor) -> Iterator[tuple[float, dict[str, torch.Tensor]]]:
    return ((float(loss), {"a": gradient}) for loss, gradient in enumerate(gradients))


@pytest.mark.parametrize(
    ("options", "keep", "weight"),
    [
        # D = sqrt((1 + 49) / 2), ... = 5 1 2 1.5; |W| = 1 4 1 3; W D = 5 4 2 4.5: of pruned 5 2 and kept 4 4.5, one pair
        ({}, [1, 0, 0, 1], [1, 0, 0, -3]),
        ({"keep_reconstruction": True}, [1, 0, 0, 1], [1, 0, 0, -2]),
        ({"metric": "W"}, [0, 1, 0, 1], [0, -4, 0, -3]),
        ({"metric": "D"}, [1, 0, 1, 0], [1, 0, 1, 0]),
        ({"threshold": 0.0}, [0, 1, 0, 1], [0, -4, 0, -3]),
        ({"threshold": 0.0, "keep_reconstruction": True}, [0, 1, 0, 1], [0, -3.5, 0, -2]),
    ],
)
def test_barber_by_hand(options, keep, weight):
    dense, before = torch.tensor([[1.0, -4, 1, -3]]), torch.tensor([[False, True, False, True]])
    updated = torch.tensor([[0, -3.5, 0, -2]])
    gradients = torch.tensor([[1.0, -1, -2, 1.5]]), torch.tensor([[-7.0, 1, 2, -1.5]])
    asked: list[torch.Tensor] = []

    def losses(weights) -> Iterator[float]:
        asked.append(weights["a"])
        yield from (0.25, 0.5)

    group = Group("mlp", {"a": dense}, {"a": Pruned(updated, before)}, lambda: told(*gradients), losses)
    *_, refined = Barber(**{"threshold": 1.0} | options).refine(group, ROW, {"a": None})
    assert isinstance(refined, Refined)
    assert refined.pruned["a"].keep.int().tolist() == [keep]
    assert refined.pruned["a"].weight.tolist() == [weight]
    assert torch.equal(asked[0], refined.pruned["a"].weight)
    swapped = sum(new and not old for new, old in zip(keep, before[0].tolist(), strict=True)) / 4
    assert refined.modules == {"a": {"swapped": swapped}}
    assert refined.report == {"loss_before": 0.5, "loss_after": 0.375, "swapped": swapped}


def comparison_groups(shapes: dict[str, tuple[int, int]], granularity: str) -> list[list[tuple[str, int, int]]]:
    every = [(name, i, j) for name, (rows, columns) in shapes.items() for i in range(rows) for j in range(columns)]
    of = {
        "block": lambda name, i, j: 0,
        "layer": lambda name, i, j: name,
        "output1": lambda name, i, j: (name, i),
        "input1": lambda name, i, j: (name, j),
    }[granularity]
    keys = dict.fromkeys(of(*place) for place in every)
    return [[place for place in every if of(*place) == key] for key in keys]


def slow_barber(metrics, keeps, granularity, threshold, pattern, permutations):
    """Pairs, one after the other; N:M: what grows takes the place of the lowest kept weights of its own group."""
    new = {name: keep.clone() for name, keep in keeps.items()}

    def value(place):
        return float(metrics[place[0]][place[1:]])

    def kept(place):
        return bool(keeps[place[0]][place[1:]])

    wanted = set()
    for group in comparison_groups({name: tuple(keep.shape) for name, keep in keeps.items()}, granularity):
        outside = sorted((place for place in group if not kept(place)), key=value, reverse=True)
        inside = sorted((place for place in group if kept(place)), key=value)
        pairs = [(grow, drop) for grow, drop in zip(outside, inside, strict=False) if value(grow) > value(drop)]
        for grow, drop in pairs[: int(len(pairs) * threshold)]:
            wanted.add(grow)
            if not isinstance(pattern, NM):
                new[grow[0]][grow[1:]], new[drop[0]][drop[1:]] = True, False
    for name, keep in keeps.items() if isinstance(pattern, NM) else ():
        order = range(keep.shape[1]) if permutations[name] is None else permutations[name].tolist()
        for i in range(len(keep)):
            for start in range(0, len(order), pattern.m):
                group = [(name, i, j) for j in order[start : start + pattern.m]]
                grow = sorted((place for place in group if place in wanted), key=value, reverse=True)
                drop = sorted((place for place in group if kept(place)), key=value)
                for up, down in zip(grow, drop, strict=False):
                    if value(up) > value(down):
                        new[name][up[1:]], new[name][down[1:]] = True, False
    return new


def two_modules(n_m, seed, ties):
    """Metrics, masks and orders of a block of two modules; with ``n_m`` one of them is N:M in an order of its own."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (6, 16), "b": (4, 24)}
    high = 5 if ties else 10**6
    metrics = {name: torch.randint(high, shape, generator=generator).float() for name, shape in shapes.items()}
    scores = {name: torch.rand(shape, generator=generator) for name, shape in shapes.items()}
    order = torch.randperm(24, generator=generator)
    permutations = {"a": None, "b": order if n_m else None}
    pattern = NM(n=n_m[0], m=n_m[1]) if n_m else ROW
    sparsity = 0.4 if n_m is None else pattern.sparsity
    keeps = {"a": pattern.keep(scores["a"], sparsity), "b": pattern.keep(scores["b"], sparsity)}
    if n_m:
        keeps["b"][:, order] = keeps["b"].clone()
    return metrics, keeps, pattern, permutations


@pytest.mark.parametrize("threshold", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("n_m", [None, (2, 4), (1, 4), (4, 8)])
def test_barber_equals_its_pairs_taken_one_by_one(n_m, granularity, threshold):
    metrics, keeps, pattern, permutations = two_modules(n_m, 7, ties=False)
    arguments = (metrics, keeps, granularity, threshold, pattern, permutations)
    ours, slow = rebuild(*arguments), slow_barber(*arguments)
    assert all(torch.equal(ours[name], slow[name]) for name in keeps)
    # A tenth of the few mismatched pairs of a row or column is none.
    changed = any(not torch.equal(ours[name], keeps[name]) for name in keeps)
    assert changed == (threshold >= 0.5 or granularity in ("block", "layer"))


@given(
    st.sampled_from([None, (1, 2), (2, 4), (3, 4), (4, 8)]),
    st.sampled_from(GRANULARITIES),
    st.floats(0, 1),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_barber_keeps_every_count_and_only_raises_the_metric(n_m, granularity, threshold, seed, ties):
    metrics, keeps, pattern, permutations = two_modules(n_m, seed, ties)
    new = rebuild(metrics, keeps, granularity, threshold, pattern, permutations)
    if isinstance(pattern, NM):
        for name, order in permutations.items():
            keep = new[name] if order is None else new[name][:, order]
            assert pattern.violation(keep, pattern.sparsity) is None
        groups = [[(name, i, j) for j in range(k.shape[1])] for name, k in keeps.items() for i in range(len(k))]
    else:
        groups = comparison_groups({name: tuple(keep.shape) for name, keep in keeps.items()}, granularity)
    for group in groups:
        grown = [metrics[n][i, j] for n, i, j in group if new[n][i, j] and not keeps[n][i, j]]
        cut = [metrics[n][i, j] for n, i, j in group if keeps[n][i, j] and not new[n][i, j]]
        assert len(grown) == len(cut)
        pairs = zip(sorted(grown, reverse=True), sorted(cut), strict=True)
        assert isinstance(pattern, NM) or all(up > down for up, down in pairs)
        assert math.fsum(grown) > math.fsum(cut) or not grown


def test_low_rank_by_hand():
    """Singular values 4 3 2 1, of which two stay: 25 of 30 of the energy, an error of sqrt(5 / 30)."""
    weight = torch.zeros(4, 8)
    weight[[3, 1, 0, 2], [0, 5, 2, 7]] = torch.tensor([4.0, -3, 2, 1])
    factors = LowRank(rank_ratio=0.5).factor("q", weight)
    expected = torch.zeros(4, 8)
    expected[3, 0], expected[1, 5] = 4, -3
    torch.testing.assert_close(factors.left @ factors.right, expected)
    assert (factors.left.shape, factors.right.shape) == ((4, 2), (2, 8))
    # Each factor takes the root of the singular values.
    torch.testing.assert_close(factors.left.T @ factors.left, torch.diag(torch.tensor([4.0, 3])))
    torch.testing.assert_close(factors.right @ factors.right.T, torch.diag(torch.tensor([4.0, 3])))
    error = pytest.approx(math.sqrt(5 / 30))
    assert factors.report == {
        "rank": 2,
        "energy": pytest.approx(25 / 30),
        "weight_error": error,
        "factored_parameters": 2 * (4 + 8),
    }


shapes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(shapes, st.floats(0.05, 1), st.integers(0, 10**6))
def test_low_rank_keeps_the_largest_singular_values(shape, ratio, seed):
    """From the eigenvectors of the smaller of W W^T and W^T W, in float64."""
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    rank = int(min(shape) * ratio)
    if rank == 0:
        return
    factors = LowRank(rank_ratio=ratio, force=True).factor("q", weight)
    wide = weight.double() if shape[0] <= shape[1] else weight.double().T
    squares, vectors = torch.linalg.eigh(wide @ wide.T)  # ascending
    strongest = vectors[:, -rank:]
    best = strongest @ strongest.T @ wide
    product = (factors.left @ factors.right).double()
    torch.testing.assert_close(product if shape[0] <= shape[1] else product.T, best, rtol=1e-4, atol=1e-4)
    assert factors.report["energy"] == pytest.approx(float(squares[-rank:].sum() / squares.sum()), rel=1e-5)
    tail = math.sqrt(max(float(squares[:-rank].sum() / squares.sum()), 0))
    assert factors.report["weight_error"] == pytest.approx(tail, abs=2e-4)
    assert (factors.report["rank"], factors.report["factored_parameters"]) == (rank, rank * sum(shape))


@given(st.tuples(st.integers(1, 300), st.integers(1, 300)), st.floats(0.001, 1))
def test_a_rank_is_refused_exactly_where_it_saves_nothing(shape, ratio):
    rank = int(min(shape) * ratio)
    saves = 0 < rank < shape[0] * shape[1] / sum(shape)
    if saves:
        assert LowRank(rank_ratio=ratio).rank("q", shape) == rank
        return
    with pytest.raises(InputError, match=r"^rank_ratio = .* q "):
        LowRank(rank_ratio=ratio).rank("q", shape)
    if rank:
        assert LowRank(rank_ratio=ratio, force=True).rank("q", shape) == rank


@pytest.mark.parametrize(
    ("ratio", "shape", "message"),
    [
        (
            0.5,
            (32, 32),
            "rank_ratio = 0.5 saves nothing on a.q (32 × 32): rank 16 takes 1,024 weights in the place of 1,024",
        ),
        (
            0.9,
            (64, 32),
            "rank_ratio = 0.9 saves nothing on a.q (64 × 32): rank 28 takes 2,688 weights in the place of 2,048",
        ),
        (0.02, (64, 32), "rank_ratio = 0.02 leaves a.q (64 × 32) no rank at all; raise it."),
    ],
)
def test_a_refused_rank_is_told_in_numbers(ratio, shape, message):
    with pytest.raises(InputError) as caught:
        LowRank(rank_ratio=ratio).check_module("a.q", shape)
    assert str(caught.value).startswith(message)


def test_the_ratio_that_a_refusal_names_is_the_limit():
    with pytest.raises(InputError, match=r"choose a ratio below 0\.667, or force it"):
        LowRank(rank_ratio=0.7).rank("q", (64, 32))
    assert LowRank(rank_ratio=0.66).rank("q", (64, 32)) == 21


def test_a_weight_without_a_decomposition_is_told_by_its_module():
    with pytest.raises(InputError, match=r"^a\.q: "):
        LowRank().factor("a.q", torch.full((8, 8), math.nan))


def test_a_matrix_of_zeros_stays_one():
    factors = LowRank().factor("q", torch.zeros(8, 16))
    assert not (factors.left @ factors.right).any()
    assert factors.report["weight_error"] == 0


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        ("*att*", ["h.0.attn.q", "h.0.self_attn.k"]),
        ("*.mlp.*", ["h.0.mlp.up"]),
        ("*.q, h.0.mlp.up", ["h.0.attn.q", "h.0.mlp.up"]),
        ("up", []),  # names are full names
    ],
)
def test_modules_are_chosen_by_patterns_of_full_names(patterns, chosen):
    names = ["h.0.attn.q", "h.0.self_attn.k", "h.0.mlp.up"]
    assert [name for name in names if LowRank(modules=patterns).chooses(name, "")] == chosen


@given(st.integers(1, 60), st.integers(1, 8), st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_one_long_group_is_swapped_as_its_sorted_pairs_are(size, levels, seed, density, threshold):
    """A matrix is not sorted; few levels make ties the rule."""
    generator = torch.Generator().manual_seed(seed)
    metric = torch.randint(0, levels, (1, size), generator=generator).float()
    keep = torch.rand(1, size, generator=generator) < density
    pairs = paired(metric, keep)
    assert mismatched(metric, keep) == int(pairs.mismatched)
    first = torch.arange(size) < pairs.swaps(threshold)
    grown, cut = swap(metric, keep, threshold)
    none = torch.zeros_like(keep)
    assert torch.equal(grown, none.scatter(1, pairs.grow, first))
    assert torch.equal(cut, none.scatter(1, pairs.cut, first))
