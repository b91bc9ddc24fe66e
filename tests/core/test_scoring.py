"""Scores, cuts, ranks and the pictures of them, against what a plain loop finds."""

import math
import time
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.difference import mask_overlap
from core.methods.magnitude import Magnitude
from core.methods.ria import RIA
from core.methods.sparsegpt import SparseGPT
from core.methods.wanda import Wanda
from core.methods.wanda_variant import WandaVariant
from core.patterns import NM, MixedNM, Pattern, Unstructured
from core.scoring.aggregate import Window, aggregate, along, coarser, edges, row_means
from core.scoring.comparison import Comparison, comparison, cuts
from core.scoring.histogram import histogram
from core.scoring.scored import scored
from core.scoring.weight import place, sentence
from core.statistics import InputStatistics

SHAPES = st.tuples(st.integers(1, 23), st.integers(1, 23))


def matrix(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


# Aggregation -------------------------------------------------------------------------------------------------------


@given(SHAPES, st.integers(1, 8), st.data())
def test_every_entry_counts_in_one_cell(shape, cells, data):
    values = matrix(*shape)
    row, column = (data.draw(st.integers(0, size - 1)) for size in shape)
    rows, columns = data.draw(st.integers(1, shape[0] - row)), data.draw(st.integers(1, shape[1] - column))
    found = aggregate(values, Window(row, column, rows, columns), cells)
    assert found.mean.shape == (min(rows, cells), min(columns, cells))
    for down in range(len(found.row_edges) - 1):
        for across in range(len(found.column_edges) - 1):
            members = [
                float(values[i, j])
                for i in range(found.row_edges[down], found.row_edges[down + 1])
                for j in range(found.column_edges[across], found.column_edges[across + 1])
            ]
            assert found.mean[down, across] == pytest.approx(sum(members) / len(members), rel=1e-5, abs=1e-6)
            assert found.maximum[down, across] == max(members)
    assert (found.row_edges[0], found.row_edges[-1]) == (row, row + rows)
    assert (found.column_edges[0], found.column_edges[-1]) == (column, column + columns)
    assert (np.diff(found.row_edges) > 0).all()
    part = values[row : row + rows, column : column + columns]
    assert float((found.mean * np.outer(np.diff(found.row_edges), np.diff(found.column_edges))).sum()) == pytest.approx(
        float(part.astype(np.float64).sum()), rel=1e-4, abs=1e-4
    )


def test_a_window_of_no_more_than_the_cells_holds_the_true_values():
    values = matrix(70, 90)
    window = Window.around(33, 89, 32, values.shape)
    found = aggregate(values, window, cells=32)
    assert window == Window(32, 64, 32, 26)
    assert found.true
    assert np.array_equal(found.mean, values[32:64, 64:90])
    assert np.array_equal(found.maximum, values[32:64, 64:90])
    assert list(found.row_edges) == list(range(32, 65))
    assert not aggregate(values, cells=32).true


def test_a_mask_is_aggregated_to_the_share_that_is_kept():
    keep = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]], dtype=torch.bool).numpy()
    found = aggregate(keep, cells=2)
    # Three rows in two cells: the first alone, then two; columns two and two.
    assert found.row_edges.tolist() == [0, 1, 3]
    assert found.mean.tolist() == [[0.5, 1.0], [0.0, 0.75]]


@given(st.integers(1, 500), st.integers(1, 64), st.integers(0, 100))
def test_cells_are_as_even_as_can_be(extent, cells, first):
    sizes = np.diff(edges(first, extent, cells))
    assert sizes.sum() == extent
    assert sizes.max() - sizes.min() <= 1
    assert sizes.min() >= 1


def test_strips_belong_to_the_maps_cells():
    values = np.abs(matrix(5, 7))
    norms = np.arange(7, dtype=np.float32)
    found = aggregate(values, Window(1, 2, 4, 5), cells=2)
    strip = along(norms, found.column_edges)
    assert strip.mean.tolist() == [[2.5, 5.0]]
    assert strip.maximum.tolist() == [[3.0, 6.0]]
    assert row_means(found) == pytest.approx(
        [values[1:3, 2:7].mean(), values[3:5, 2:7].mean()], rel=1e-5
    )  # fmt: skip


def test_coarser_cells_are_made_of_whole_ones():
    values = matrix(50, 31)
    found = coarser(aggregate(values, Window(1, 1, 49, 30), cells=20), 3)
    assert found.row_edges.tolist() == [1, 15, 32, 50]  # 6, 7 and 7 of the 20 cells
    for i in range(3):
        for j in range(3):
            rows, columns = (slice(*at[k : k + 2]) for at, k in ((found.row_edges, i), (found.column_edges, j)))
            assert found.mean[i, j] == pytest.approx(values[rows, columns].mean(), rel=1e-4, abs=1e-6)
            assert found.maximum[i, j] == values[rows, columns].max()


@pytest.mark.parametrize("kind", ["scores", "mask"])
def test_a_large_matrix_is_aggregated_in_300_ms(kind):
    values = np.random.default_rng(0).random((4096, 11008), dtype=np.float32)
    values = values if kind == "scores" else values > 0.5
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        found = aggregate(values)
        seconds.append(time.perf_counter() - started)
    print(f"aggregated 4096 × 11008 {kind} in {min(seconds):.3f} s (best of 5: {[round(s, 3) for s in seconds]})")
    assert found.mean.shape == (256, 256)
    assert min(seconds) < 0.3


# Comparison --------------------------------------------------------------------------------------------------------

PATTERNS: list[tuple[Pattern, float]] = [
    (Unstructured(group="layer"), 0.4),
    (Unstructured(group="output"), 0.6),
    (Unstructured(group="input"), 0.3),
    (NM(n=2, m=4), 0.5),
    (MixedNM(m=8).at(0.375), 0.375),
]


def naive_rivals(pattern: Any, row: int, column: int, shape: tuple[int, int]) -> list[tuple[int, int]]:
    places = [(i, j) for i in range(shape[0]) for j in range(shape[1])]
    if pattern.span:
        return [(i, j) for i, j in places if i == row and j // pattern.span == column // pattern.span]
    own = {"layer": lambda i, j: True, "output": lambda i, j: i == row, "input": lambda i, j: j == column}
    return [(i, j) for i, j in places if own[pattern.group](i, j)]


@pytest.mark.parametrize(("pattern", "sparsity"), PATTERNS, ids=lambda value: getattr(value, "label", value))
def test_the_place_of_every_weight_is_what_a_plain_loop_finds(pattern, sparsity):
    scores = torch.from_numpy(np.abs(matrix(6, 16, seed=3)))
    scores[:, 5] = scores[:, 4]  # ties
    keep = pattern.keep(scores, sparsity)
    compared = comparison(Magnitude(), pattern)
    found_cuts = cuts(scores, keep, compared)
    assert found_cuts.separates
    seen = set()
    for row in range(6):
        for column in range(16):
            rivals = naive_rivals(pattern, row, column, (6, 16))
            ordered = sorted((float(scores[at]) for at in rivals), reverse=True)
            stay = sum(bool(keep[at]) for at in rivals)
            found = place(scores.numpy(), keep.numpy(), row, column, compared)
            assert (found.size, found.stay) == (len(rivals), stay)
            assert found.rank == 1 + sum(score > float(scores[row, column]) for score in ordered)
            assert found.cut == ordered[stay - 1]
            assert found.kept == bool(keep[row, column])
            assert found.by_score
            seen.add(found.cut)
    assert seen == set(found_cuts.values.tolist())


def test_groups_hold_every_weight_once_also_where_they_are_uneven():
    places = torch.arange(6 * 10).reshape(6, 10)
    for compared in (
        Comparison("layer"),
        Comparison("output"),
        Comparison("input"),
        Comparison("output", 5),
        Comparison("output", 4),
        Comparison("layer", 4),
        Comparison("output", 5, torch.arange(9, -1, -1)),
    ):
        members = [group for part in compared.groups(places) for group in part.tolist()]
        assert sorted(place for group in members for place in group) == list(range(60))
        for row, column in ((0, 0), (3, 9), (5, 4)):
            rows, columns = compared.rivals(row, column, (6, 10))
            rivals = sorted(places[rows][:, columns].flatten().tolist())
            assert rivals in [sorted(group) for group in members]
            assert int(places[row, column]) in rivals


def test_reallocated_inputs_compete_in_their_order():
    order = torch.tensor([0, 4, 1, 5, 2, 6, 3, 7])
    rows, columns = Comparison("output", 4, order).rivals(2, 5, (3, 8))
    assert (rows, columns.tolist()) == (slice(2, 3), [0, 4, 1, 5])


def test_what_competes_is_the_methods_or_the_users_choice():
    assert comparison(Magnitude(), Unstructured()) == Comparison("layer")
    assert comparison(Wanda(), Unstructured()) == Comparison("output")
    assert comparison(Wanda(), Unstructured(group="input")) == Comparison("input")
    assert comparison(SparseGPT(), Unstructured()) == Comparison("layer", 128)
    assert comparison(SparseGPT(selection="matrix"), Unstructured()) == Comparison("layer")
    assert comparison(RIA(), NM(n=2, m=4)) == Comparison("output", 4)


def test_cuts_of_groups_that_lose_unlike_many():
    scores = torch.tensor([[1.0, 2, 3, 4], [1, 2, 3, 4], [4, 3, 2, 1]])
    keep = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)
    found = cuts(scores, keep, Comparison("output"))
    assert found.values.tolist() == [3, 1, math.inf]
    assert found.separates
    swapped = torch.tensor([[0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.bool)
    assert not cuts(scores, swapped, Comparison("output")).separates


# One module --------------------------------------------------------------------------------------------------------


def inputs(columns: int, seed: int = 0) -> InputStatistics:
    x = torch.randn(64, columns, generator=torch.Generator().manual_seed(seed))
    x[:, 1] *= 20
    return InputStatistics({"norm": x.square().sum(dim=0).div(4).sqrt(), "gram": x.T @ x / 2})


def test_scores_are_those_of_the_formula_and_the_mask_follows():
    weight, stats = torch.from_numpy(matrix(5, 8)), inputs(8)
    found = scored(Wanda(), weight, stats, Unstructured(), 0.5)
    for i in range(5):
        row = [abs(float(weight[i, j])) * float(stats["norm"][j]) for j in range(8)]
        assert found.scores[i].tolist() == pytest.approx(row)
        assert [bool(kept) for kept in found.keep[i]] == [score in sorted(row)[4:] for score in row]
    lowest = [float(found.scores[i][found.keep[i]].min()) for i in range(5)]
    assert found.facts.cut.model_dump() == {
        "groups": 5,
        "low": min(lowest),
        "median": sorted(lowest)[2],
        "high": max(lowest),
        "separates": True,
    }


def test_a_method_without_scores_has_its_mask_and_a_reason():
    weight, stats = torch.from_numpy(matrix(5, 8)), inputs(8)
    found = scored(WandaVariant(), weight, stats, Unstructured(), 0.5)
    assert found.scores is None
    assert "no scores of a whole matrix" in found.facts.note
    assert torch.equal(found.keep, WandaVariant().prune(weight, stats, Unstructured(), 0.5).keep)


def test_a_mask_that_was_chosen_on_the_way_is_not_separated_by_the_first_scores():
    weight, stats = torch.from_numpy(matrix(24, 64)), inputs(64)
    found = scored(SparseGPT(blocksize=16), weight, stats, Unstructured(), 0.5)
    assert torch.equal(found.keep, SparseGPT(blocksize=16).prune(weight, stats, Unstructured(), 0.5).keep)
    assert found.facts.cut.groups == 4
    assert not found.facts.cut.separates
    at_once = scored(SparseGPT(selection="matrix"), weight, stats, Unstructured(), 0.5)
    assert at_once.facts.cut.separates


def test_a_known_mask_is_taken_as_it_is():
    weight, stats = torch.from_numpy(matrix(4, 4)), inputs(4)
    keep = torch.eye(4, dtype=torch.bool)
    assert scored(Magnitude(), weight, stats, Unstructured(), 0.75, known=keep).keep is keep


def test_the_histogram_counts_every_score_once():
    scores = torch.from_numpy(np.abs(matrix(40, 50)))
    scores[0, :7] = 0
    keep = scores > 0.5
    found = histogram(scores, keep)
    assert sum(found.kept) == int(keep.sum())
    assert sum(found.pruned) == int((~keep).sum())
    for number in (10, 40, 79):
        low, high = found.edges[number], found.edges[number + 1]
        inside = [low < score <= high * (1 + 1e-7) for score in scores[keep].tolist()]
        assert abs(found.kept[number] - sum(inside)) <= 1  # an edge may fall on a score by rounding
    assert found.edges[-1] == pytest.approx(float(scores.max()))
    assert found.pruned[0] >= 7
    assert histogram(torch.zeros(3, 3), torch.ones(3, 3, dtype=torch.bool)) is None


def test_jaccard_by_hand():
    a = np.packbits(np.array([[1, 1, 0, 0], [1, 0, 1, 0]], dtype=bool))
    b = np.packbits(np.array([[1, 0, 1, 0], [1, 0, 1, 0]], dtype=bool))
    found = mask_overlap((a, (2, 4)), (b, (2, 4)))
    # Kept by both 3, by either 5; by chance 4 · 4 / 8 = 2 of both, 8 − 2 = 6 of either.
    assert found == (3, 5, 3 / 5, 2 / 6)


# One weight --------------------------------------------------------------------------------------------------------


def test_the_sentence_of_a_weight_by_hand():
    weight = torch.tensor([[0.5, -2.0, 1.0, 0.012]])
    norm = torch.tensor([4.0, 0.5, 3.0, 3.4])
    found = scored(Wanda(), weight, InputStatistics({"norm": norm}), Unstructured(), 0.5)
    compared = comparison(Wanda(), Unstructured())

    def said(column: int) -> str:
        at = place(found.scores.numpy(), found.keep.numpy(), 0, column, compared)
        return sentence(Wanda(), float(weight[0, column]), float(norm[column]), at, compared, "never said")

    assert said(3) == "|w| = 0.012 × norm 3.4 → 0.0408; the cut of its row is 2: pruned."
    assert said(0) == "|w| = 0.5 × norm 4 → 2; the cut of its row is 2: kept."
    assert said(1) == "|w| = 2 × norm 0.5 → 1; the cut of its row is 2: pruned."


def test_the_sentence_says_what_the_score_does_not_explain():
    scores = torch.tensor([[1.0, 2, 2, 4]])
    compared = Comparison("output")

    def said(keep: list[int], column: int) -> str:
        at = place(scores.numpy(), np.array([keep], dtype=bool), 0, column, compared)
        return sentence(Magnitude(), float(scores[0, column]), 1.0, at, compared, "swaps changed the mask")

    assert said([0, 0, 1, 1], 1).endswith("pruned (of equal scores the first go).")
    assert said([0, 0, 1, 1], 2).endswith("the cut of its row is 2: kept.")
    assert said([1, 0, 0, 1], 0).endswith(
        "so by this score alone it would be pruned. But swaps changed the mask: kept."
    )
    assert said([1, 1, 1, 1], 0).endswith("nothing of its row goes: kept.")
    assert said([0, 0, 0, 0], 3).endswith("nothing of its row stays: pruned.")
