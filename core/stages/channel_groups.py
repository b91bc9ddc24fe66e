"""Channel reallocation's inner loops, compiled for the CPU; a channel is a row, so that they run along memory.

``python -m benchmarks.pruning --only ria_24_lsa`` says what it saves. Other devices take the same steps in
``reallocation``.
"""

from __future__ import annotations

from typing import no_type_check

import numba
import numpy as np
from jaxtyping import Bool, Float, Int

compiled = numba.njit(cache=True, nogil=True, error_model="numpy")
summing = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "reassoc", "nsz"})


@no_type_check
@compiled
def keep_highest(
    channels: Float[np.ndarray, "in out"],
    permutation: Int[np.ndarray, " in"],
    n: int,
    m: int,
    keep: Bool[np.ndarray, "in out"],
) -> float:
    """Fills ``keep``, in the channels' own order, with the ``n`` highest of every ``m`` in that of ``permutation``, of equal
    ones the last; returns their sum."""
    out = channels.shape[1]
    before = np.empty((m, out), np.uint8)
    total = 0.0
    for first in range(0, len(permutation), m):
        before[:] = 0
        for right in range(1, m):
            high = channels[permutation[first + right]]
            for left in range(right):
                low = channels[permutation[first + left]]
                for lane in range(out):
                    wrong = np.uint8(low[lane] > high[lane])
                    before[left, lane] += wrong
                    before[right, lane] += np.uint8(1) - wrong
        for i in range(m):
            channel = permutation[first + i]
            for lane in range(out):
                keep[channel, lane] = before[i, lane] >= m - n
            total += _sum_of_kept(channels[channel], keep[channel])
    return total


@no_type_check
@summing
def _sum_of_kept(scores, keep):
    total = 0.0
    for lane in range(len(scores)):
        total += np.float64(scores[lane]) * np.float64(keep[lane])
    return total


@no_type_check
@compiled
def nth_best(
    channels: Float[np.ndarray, "in out"], groups: Int[np.ndarray, "groups others"], n: int
) -> Float[np.ndarray, "groups out"]:
    """In each group of channels, for each output, the ``n``-th highest."""
    others, out = groups.shape[1], channels.shape[1]
    best = np.empty((len(groups), out), np.float32)
    for group in range(len(groups)):
        for i in range(others):
            for lane in range(out):
                here, above = channels[groups[group, i], lane], 0
                for k in range(others):
                    there = channels[groups[group, k], lane]
                    above += there > here or (there == here and k < i)
                if above == n - 1:
                    best[group, lane] = here
    return best


@no_type_check
@summing
def gains_over(slot: Float[np.ndarray, "g out"], threshold: Float[np.ndarray, "h out"]) -> Float[np.ndarray, "h g"]:
    """``sum_i max(0, slot[g, i] - threshold[h, i])``."""
    found = np.empty((len(threshold), len(slot)), np.float32)
    for h in range(len(threshold)):
        for g in range(len(slot)):
            total = np.float32(0)
            for lane in range(slot.shape[1]):
                total += max(slot[g, lane] - threshold[h, lane], np.float32(0))
            found[h, g] = total
    return found
