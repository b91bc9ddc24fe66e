"""The inner loop of the column sweep, compiled for the CPU: in PyTorch it is thousands of small operations a matrix.

``python -m benchmarks.pruning --only sparsegpt`` says what it saves. Other devices, grids and patterns that plugins bring
take the same steps in ``column_sweep``.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Bool, Float

_LANES = 256
"""So many outputs go through a block together: enough for the vector units, few enough for the processor's caches."""

compiled = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract"})


@no_type_check
@compiled
def eliminate(
    block: Float[np.ndarray, "columns out"],
    keep: Bool[np.ndarray, "columns out"],
    factor: Float[np.ndarray, "columns columns"],
    errors: Float[np.ndarray, "columns out"],
    start: int,
    stop: int,
) -> None:
    """Removes what ``keep`` prunes of ``block`` and fills ``errors``, each passed on to the columns below it; for the
    outputs from ``start`` to ``stop``, which have nothing to do with the others."""
    columns = len(block)
    lanes = np.empty((columns, _LANES), np.float32)
    for begin in range(start, stop, _LANES):
        width = min(_LANES, stop - begin)
        lanes[:, :width] = block[:, begin : begin + width]
        for j in range(columns):
            _remove(lanes, keep[j, begin : begin + width], factor, errors[j, begin : begin + width], j)
        block[:, begin : begin + width] = lanes[:, :width]


@no_type_check
@compiled
def eliminate_lowest(
    block: Float[np.ndarray, "columns out"],
    keep: Bool[np.ndarray, "columns out"],
    factor: Float[np.ndarray, "columns columns"],
    errors: Float[np.ndarray, "columns out"],
    drop: int,
    m: int,
    start: int,
    stop: int,
) -> None:
    """The same where of every ``m`` columns, when their turn comes, the ``drop`` least salient go; fills ``keep`` too."""
    columns = len(block)
    lanes = np.empty((columns, _LANES), np.float32)
    for begin in range(start, stop, _LANES):
        width = min(_LANES, stop - begin)
        lanes[:, :width] = block[:, begin : begin + width]
        for j in range(columns):
            if j % m == 0:
                _keep_highest(lanes, keep[:, begin : begin + width], factor, j, drop, m)
            _remove(lanes, keep[j, begin : begin + width], factor, errors[j, begin : begin + width], j)
        block[:, begin : begin + width] = lanes[:, :width]


@no_type_check
@compiled
def _remove(lanes, keep, factor, error, j):
    """Column ``j``'s error, and what it adds to the columns below."""
    passed = np.zeros(_LANES, np.float32)
    for lane in range(len(keep)):
        passed[lane] = np.float32(0) if keep[lane] else lanes[j, lane] / factor[j, j]
        error[lane] = passed[lane]
    for k in range(j + 1, len(lanes)):
        share = factor[j, k]
        for lane in range(_LANES):
            lanes[k, lane] -= share * passed[lane]


@no_type_check
@compiled
def _keep_highest(lanes, keep, factor, j, drop, m):
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
        for lane in range(keep.shape[1]):
            keep[j + i, lane] = before[i, lane] >= drop
