"""Masks: exact selection of the smallest of each row, weights under a mask, how many it marks."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int

from core.compiled import runs_compiled
from core.errors import InputError
from core.lazy import torch

_FEW = 8
"""In rows this short every pair is compared, which is faster than finding each row's cut."""
LONG = 2**16
"""From this size on a row's cut is looked for between bounds that a sample of it gives."""
_SAMPLE = 2**14


def smallest(scores: Float[torch.Tensor, "groups size"], count: int) -> Bool[torch.Tensor, "groups size"]:
    """Marks exactly ``count`` smallest scores in each group (row); of equal scores the lowest index first.

    Raises InputError where a score is NaN, which no order could place.
    """
    refuse_nan(scores)
    if count == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if scores.shape[1] <= _FEW:
        return _smallest_of_few(scores, count)
    if runs_compiled(scores) and scores.dtype == torch.float32:
        return _smallest_by_loops(scores.numpy(), count)
    cut = scores.kthvalue(count, dim=1, keepdim=True).values
    marked = scores <= cut
    if trues(marked) > count * len(scores):
        _leave_out_late_ties(scores == cut, marked, count)
    return marked


def _smallest_by_loops(scores: Float[np.ndarray, "groups size"], count: int) -> Bool[torch.Tensor, "groups size"]:
    from core.selection_loops import mark_rows  # compiled when it is needed

    scores, marked = np.ascontiguousarray(scores), np.empty(scores.shape, dtype=bool)
    if scores.shape[1] > LONG:
        cuts = np.array([_cut_of_long(row, count) for row in scores])
    else:
        cuts = np.partition(scores, count - 1, axis=1)[:, count - 1]
    mark_rows(scores, cuts, count, marked)
    return torch.from_numpy(marked)


def _cut_of_long(row: Float[np.ndarray, " size"], count: int) -> np.float32:
    """The ``count``-th smallest: a sample tells between which scores it lies, and only these are sorted out."""
    from core.selection_loops import between

    sample = np.sort(row[:: (len(row) // _SAMPLE) | 1])
    place, margin = len(sample) * count // len(row), 3 * math.isqrt(len(sample))  # six standard deviations or more
    low = sample[place - margin] if place >= margin else np.float32(-np.inf)
    high = sample[place + margin] if place + margin < len(sample) else np.float32(np.inf)
    below, candidates = between(row, low, high)
    rank = count - 1 - below
    if not 0 <= rank < len(candidates):  # the sample misled
        rank, candidates = count - 1, row
    cut: np.float32 = np.partition(candidates, rank)[rank]
    return cut


def _leave_out_late_ties(ties: torch.Tensor, marked: torch.Tensor, count: int) -> None:
    """Unmarks, of the scores that equal their row's cut, those for which no room is left: the row's last ones."""
    room = trues_by_row(ties) - (trues_by_row(marked) - count)
    row, column = ties.nonzero(as_tuple=True)
    late = torch.arange(len(row), device=row.device) - torch.searchsorted(row, row) >= room[row]
    marked[row[late], column[late]] = False


def masked(weight: Float[torch.Tensor, "out in"], keep: Bool[torch.Tensor, "out in"]) -> Float[torch.Tensor, "out in"]:
    """``weight`` where ``keep``, 0 elsewhere."""
    return weight * keep.view(torch.uint8)  # PyTorch multiplies by bytes several times faster than by booleans


def masked_(weight: Float[torch.Tensor, "out in"], keep: Bool[torch.Tensor, "out in"]) -> Float[torch.Tensor, "out in"]:
    """The same in place."""
    return weight.mul_(keep.view(torch.uint8))


def refuse_nan(scores: Float[torch.Tensor, ...]) -> None:
    """Raises InputError where a score is NaN."""
    if scores.sum().isnan() and scores.isnan().any():  # a sum is a fraction of the cost, and NaN where any score is
        raise InputError("The scores hold values that are not numbers; the model's weights or inputs are broken (NaN).")


def _smallest_of_few(scores: torch.Tensor, count: int) -> torch.Tensor:
    """By rank: how many of its group come before each score."""
    columns = scores.T.contiguous().unbind()
    size = len(columns)
    # At first each score comes after all to its left; every pair that proves otherwise moves one place from left to right.
    places = torch.arange(size, dtype=torch.uint8, device=scores.device)[:, None].repeat(1, len(scores))
    before = places.unbind()
    for left, right in combinations(range(size), 2):
        wrong = (columns[left] > columns[right]).view(torch.uint8)
        before[left].add_(wrong)
        before[right].sub_(wrong)
    return (places < count).T.contiguous()


def trues(mask: Bool[torch.Tensor, ...]) -> int:
    """How many entries are True."""
    return int(np.count_nonzero(mask.numpy())) if mask.device.type == "cpu" else int(mask.count_nonzero())


def trues_by_row(mask: Bool[torch.Tensor, "rows size"]) -> Int[torch.Tensor, " rows"]:
    """How many entries of each row are True."""
    if mask.shape[1] <= _FEW:
        counts = torch.zeros(len(mask), dtype=torch.uint8, device=mask.device)
        for column in mask.unbind(dim=1):
            counts += column
        return counts.long()
    if mask.device.type != "cpu":
        return mask.sum(dim=1)
    if len(mask) == 1:
        return torch.tensor([trues(mask)])
    return torch.from_numpy(np.count_nonzero(mask.numpy(), axis=1))


def is_finite(values: Float[torch.Tensor, ...]) -> bool:
    """Whether every value is finite."""
    return bool(values.sum().isfinite()) or bool(values.isfinite().all())  # the sum may overflow where no value does
