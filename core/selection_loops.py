"""The loops of exact selection, compiled for the CPU: each reads the scores once, where array operations read them often.

``python -m benchmarks.pruning --only magnitude`` says what they save. Other devices take the same steps in ``selection``.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Bool, Float

compiled = numba.njit(cache=True, nogil=True)


@no_type_check
@compiled
def mark_rows(
    scores: Float[np.ndarray, "groups size"],
    cuts: Float[np.ndarray, " groups"],
    count: int,
    marked: Bool[np.ndarray, "groups size"],
) -> None:
    """Marks the ``count`` lowest of each row; ``cuts``: the ``count``-th lowest. Of those that equal it the last are left out."""
    for row in range(len(scores)):
        values, low, cut = scores[row], marked[row], cuts[row]
        for i in range(len(values)):
            low[i] = values[i] <= cut
        surplus = _trues(low) - count
        i = len(values)
        while surplus > 0:
            i -= 1
            if values[i] == cut:
                low[i] = False
                surplus -= 1


@no_type_check
@compiled
def _trues(marked):
    total = np.int32(0)
    for i in range(len(marked)):
        total += np.int32(marked[i])
    return total


@no_type_check
@compiled
def between(scores: Float[np.ndarray, " size"], low: float, high: float):
    """How many scores lie below ``low``, and those from there to ``high``."""
    below = np.int32(0)
    for i in range(len(scores)):
        below += np.int32(scores[i] < low)
    found = np.empty(len(scores) + 1, scores.dtype)
    total = 0
    for i in range(len(scores)):  # without a branch, which the processor would guess wrong
        found[total] = scores[i]
        total += (scores[i] >= low) & (scores[i] <= high)
    return below, found[:total]
