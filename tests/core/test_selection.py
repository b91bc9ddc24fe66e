"""Exact selection against sorting, ties and all."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.selection import is_finite, smallest, trues, trues_by_row


def sorted_out(scores: np.ndarray, count: int) -> np.ndarray:
    marked = np.zeros(scores.shape, dtype=bool)
    for row, places in zip(marked, np.argsort(scores, axis=1, kind="stable"), strict=True):
        row[places[:count]] = True
    return marked


@given(
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1),
    st.booleans(),
)
def test_smallest_is_a_stable_sort(groups, size, levels, seed, share, across):
    """Few levels: nearly every cut runs through ties. ``across``: of a transposed view, as columns are compared."""
    scores = np.random.default_rng(seed).integers(-levels, levels, (groups, size)).astype(np.float32)
    count = int(size * share)
    given_as = torch.from_numpy(scores.T.copy()).T if across else torch.from_numpy(scores)
    np.testing.assert_array_equal(smallest(given_as, count).numpy(), sorted_out(scores, count))


def test_infinite_scores_have_their_place():
    scores = torch.tensor([[torch.inf, 1, -torch.inf, torch.inf, 0, 2, 3, 4, torch.inf, -torch.inf]])
    np.testing.assert_array_equal(smallest(scores, 8).numpy(), sorted_out(scores.numpy(), 8))


@pytest.mark.parametrize("size", [4, 40])
@pytest.mark.parametrize("count", [0, 2])
def test_nan_is_refused(size, count):
    scores = torch.zeros(3, size)
    scores[1, 2] = torch.nan
    with pytest.raises(InputError, match="NaN"):
        smallest(scores, count)


def test_opposite_infinities_are_no_nan():
    """Their sum is."""
    assert trues(smallest(torch.tensor([[torch.inf, -torch.inf, 0.0]]), 1)) == 1


@pytest.mark.parametrize("shape", [(1, 50), (7, 3), (5, 60)])
def test_counts(shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.4
    assert trues_by_row(mask).tolist() == [sum(row) for row in mask.tolist()]
    assert trues(mask) == sum(map(sum, mask.tolist()))


def test_finite():
    assert is_finite(torch.full((3,), 3e38)), "the sum overflows, no value does"
    assert not is_finite(torch.tensor([1.0, torch.inf]))
    assert not is_finite(torch.tensor([1.0, torch.nan]))
