"""Exact selection against sorting, ties and all."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.selection import _SAMPLE, LONG, is_finite, masked, masked_, smallest, trues, trues_by_row


@pytest.fixture(params=["compiled", "in PyTorch"], autouse=True, scope="module")
def both_ways(request):
    """As on the CPU, and as other devices do it."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "compiled":
            patch.setattr("core.selection.runs_compiled", lambda tensor: False)
        yield


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


@pytest.mark.parametrize("share", [0.0001, 0.3, 0.5, 0.9999])
@pytest.mark.parametrize("kind", ["distinct", "few levels", "one level", "what a sample misses", "infinite ends"])
def test_long_rows(kind, share):
    """Their cut is looked for between bounds from a sample, which may see nothing of what lies between its entries."""
    generator, size = np.random.default_rng(5), 3 * LONG
    scores = generator.standard_normal((2, size)).astype(np.float32)
    if kind == "few levels":
        scores = scores.round()
    elif kind == "one level":
        scores[:] = 1
    elif kind == "what a sample misses":
        step = (size // _SAMPLE) | 1
        scores[:, ::step] += 100
    elif kind == "infinite ends":
        scores[:, :1000], scores[:, -1000:] = np.inf, -np.inf
    count = int(size * share)
    np.testing.assert_array_equal(smallest(torch.from_numpy(scores), count).numpy(), sorted_out(scores, count))


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


def test_a_weight_under_a_mask():
    weight, keep = torch.tensor([[1.5, -2.0], [3.0, torch.inf]]), torch.tensor([[True, False], [False, True]])
    expected = torch.tensor([[1.5, 0.0], [0.0, torch.inf]])
    assert torch.equal(masked(weight, keep), expected)
    assert torch.equal(weight, torch.tensor([[1.5, -2.0], [3.0, torch.inf]])), "left as it is"
    assert masked_(weight, keep) is weight
    assert torch.equal(weight, expected)


def test_finite():
    assert is_finite(torch.full((3,), 3e38)), "the sum overflows, no value does"
    assert not is_finite(torch.tensor([1.0, torch.inf]))
    assert not is_finite(torch.tensor([1.0, torch.nan]))
