"""The inner loop of the column sweep, compiled for the CPU: in PyTorch it is thousands of small operations a matrix.

``python -m benchmarks.pruning --only sparsegpt`` says what it saves. Other devices, grids and patterns that plugins bring
take the same steps in ``column_sweep``.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Bool, Float

_LANES = 192
"""So many outputs go through a block together: enough for the vector units, few enough for the processor's caches."""

_TOGETHER = 4
"""So many columns pass their errors on together: as many as ``_pass_on_all`` writes out."""

compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})


@no_type_check
@compiled
def eliminate(
    block: Float[np.ndarray, "out columns"],
    keep: Bool[np.ndarray, "out columns"],
    factor: Float[np.ndarray, "columns columns"],
    errors: Float[np.ndarray, "columns out"],
) -> None:
    """Removes what ``keep`` prunes of ``block`` and fills ``errors``, each passed on to the columns to its right."""
    lanes, kept, passed = _room(block.shape[1])
    for begin in range(0, len(block), _LANES):
        end = min(begin + _LANES, len(block))
        _turn(block[begin:end], lanes)
        _turn(keep[begin:end], kept)
        _remove(lanes, kept, passed, factor, errors[:, begin:end], 0, len(lanes))
        _turn_back(lanes, block[begin:end])


@no_type_check
@compiled
def eliminate_lowest(
    block: Float[np.ndarray, "out columns"],
    keep: Bool[np.ndarray, "out columns"],
    factor: Float[np.ndarray, "columns columns"],
    errors: Float[np.ndarray, "columns out"],
    drop: int,
    m: int,
) -> None:
    """The same where of every ``m`` columns, when their turn comes, the ``drop`` least salient go; fills ``keep`` too."""
    lanes, kept, passed = _room(block.shape[1])
    for begin in range(0, len(block), _LANES):
        end = min(begin + _LANES, len(block))
        _turn(block[begin:end], lanes)
        for first in range(0, len(lanes), m):
            _keep_highest(lanes, kept, factor, first, drop, m)
            _remove(lanes, kept, passed, factor, errors[:, begin:end], first, first + m)
        _turn_back(lanes, block[begin:end])
        _turn_back(kept, keep[begin:end])


@no_type_check
@compiled
def _room(columns):
    """For as many columns of so many outputs, a row a column: the inner loops run along memory."""
    return (
        np.zeros((columns, _LANES), np.float32),
        np.zeros((columns, _LANES), np.bool_),
        np.empty((_TOGETHER, _LANES), np.float32),
    )


@no_type_check
@compiled
def _turn(rows, into):
    for lane in range(len(rows)):
        for column in range(rows.shape[1]):
            into[column, lane] = rows[lane, column]


@no_type_check
@compiled
def _turn_back(columns, into):
    for lane in range(len(into)):
        for column in range(into.shape[1]):
            into[lane, column] = columns[column, lane]


@no_type_check
@compiled
def _remove(lanes, kept, passed, factor, errors, first, last):
    """The columns from ``first`` to ``last``: a few at a time, so that those to their right are read and written once for
    them."""
    for left in range(first, last, _TOGETHER):
        right = min(left + _TOGETHER, last)
        for j in range(left, right):
            _error(lanes[j], passed[j - left], kept[j], factor[j, j])
            errors[j] = passed[j - left, : errors.shape[1]]
            for k in range(j + 1, right):
                _pass_on(lanes[k], factor[j, k], passed[j - left])
        for k in range(right, len(lanes)):
            if right - left == _TOGETHER:
                _pass_on_all(lanes[k], factor[left:right, k], passed)
            else:
                for j in range(left, right):
                    _pass_on(lanes[k], factor[j, k], passed[j - left])


@no_type_check
@compiled
def _error(column, passed, kept, pivot):
    """What removing the pruned weights of a column leaves to the columns on its right."""
    for lane in range(_LANES):
        passed[lane] = column[lane] / pivot * np.float32(not kept[lane])


@no_type_check
@compiled
def _pass_on(column, share, passed):
    for lane in range(_LANES):
        column[lane] -= share * passed[lane]


@no_type_check
@compiled
def _pass_on_all(column, shares, passed):
    """One after another, as ``_pass_on`` would."""
    a, b, c, d = shares[0], shares[1], shares[2], shares[3]
    first, second, third, fourth = passed[0], passed[1], passed[2], passed[3]
    for lane in range(_LANES):
        value = column[lane] - a * first[lane]
        value -= b * second[lane]
        value -= c * third[lane]
        column[lane] = value - d * fourth[lane]


@no_type_check
@compiled
def _keep_highest(lanes, kept, factor, j, drop, m):
    """By rank: how many of the ``m`` come before each; of equal saliencies the first."""
    before = np.zeros((m, _LANES), np.uint8)
    for right in range(1, m):
        for left in range(right):
            for lane in range(_LANES):
                first = lanes[j + left, lane] / factor[j + left, j + left]
                second = lanes[j + right, lane] / factor[j + right, j + right]
                wrong = np.uint8(first * first > second * second)
                before[left, lane] += wrong
                before[right, lane] += np.uint8(1) - wrong
    for i in range(m):
        for lane in range(_LANES):
            kept[j + i, lane] = before[i, lane] >= drop
