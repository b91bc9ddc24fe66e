"""Sparsity moved from block to block; the mean, weighted by parameters, stays what it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from core.allocation.balance import balance
from core.errors import InputError
from core.profile import ModelProfile

Sparsities = dict[int, float]
"""By block."""
_NONE = 1e-6
"""A shift that changes the smaller block's sparsity by no more is none."""


class Bounds(NamedTuple):
    """Between what every block's sparsity lies, and of what it is a multiple, if of anything."""

    lowest: float
    highest: float
    unit: float | None = None


def block_sizes(profile: ModelProfile) -> dict[int, int]:
    """Prunable weights of each block that has any. Raises InputError where there are not two to move sparsity between."""
    sizes: dict[int, int] = {}
    for module in profile.modules:
        sizes[module.block] = sizes.get(module.block, 0) + module.parameters
    if len(sizes) < 2:
        raise InputError("The model has a single block, so there is nothing to search; prune it as it is.")
    return sizes


def by_block(sparsities: Mapping[str, float], profile: ModelProfile) -> Sparsities:
    """Each block's mean, weighted by parameters, of sparsities by module."""
    sizes = block_sizes(profile)
    lost = dict.fromkeys(sizes, 0.0)
    for module in profile.modules:
        lost[module.block] += sparsities[module.name] * module.parameters
    return {block: lost[block] / sizes[block] for block in sizes}


def within(wishes: Sparsities, sizes: Mapping[int, int], target: float, bounds: Bounds) -> Sparsities:
    """``wishes`` inside the bounds with the weighted mean ``target``: what lies above the lowest is scaled by one factor,
    clamped to the highest, and the rest redistributed."""
    low, high, unit = bounds
    if unit:
        return wishes  # whole numbers already, which lie inside
    above = {str(block): max(wish - low, 0.0) for block, wish in wishes.items()}
    scaled = balance(above, {str(block): size for block, size in sizes.items()}, target - low, high - low)
    return {block: min(low + scaled[str(block)], high) for block in wishes}


def mutated(
    parent: Sparsities, sizes: Mapping[int, int], bounds: Bounds, step: float, rng: np.random.Generator
) -> Sparsities:
    """``parent`` after one to three shifts, fewer more often (as the authors' program draws them)."""
    child = parent
    for _ in range(min(rng.integers(1, 4), rng.integers(1, 4))):
        child = _shifted(child, sizes, bounds, step, rng)
    return child


def _shifted(
    sparsities: Sparsities, sizes: Mapping[int, int], bounds: Bounds, step: float, rng: np.random.Generator
) -> Sparsities:
    """As many weights pruned more in one block as fewer in another: what the smaller of the two changes by is ``step`` at
    most, and the other changes by less."""
    most = {
        (more, less): _most(more, less, sparsities, sizes, bounds, step)
        for more in sparsities
        for less in sparsities
        if more != less
    }
    pairs = [(pair, weights) for pair, weights in most.items() if weights > _NONE * min(sizes[pair[0]], sizes[pair[1]])]
    if not pairs:
        raise InputError(
            "No sparsity can be moved between two blocks; set lowest and highest further apart, or choose a pattern that does "
            "not need whole numbers where the blocks differ in size."
        )
    (more, less), weights = pairs[int(rng.integers(len(pairs)))]
    if bounds.unit:
        unit = bounds.unit * sizes[more]
        moved = unit * int(rng.integers(1, round(weights / unit) + 1))
    else:
        moved = weights * (1 - rng.random())  # in (0, weights]
    child = dict(sparsities)
    child[more] = min(child[more] + moved / sizes[more], bounds.highest)
    child[less] = max(child[less] - moved / sizes[less], bounds.lowest)
    return child


def _most(more: int, less: int, sparsities: Sparsities, sizes: Mapping[int, int], bounds: Bounds, step: float) -> float:
    """How many weights may be pruned in ``more`` in place of ``less``, at most."""
    room = min((bounds.highest - sparsities[more]) * sizes[more], (sparsities[less] - bounds.lowest) * sizes[less])
    weights = min(room, step * min(sizes[more], sizes[less]))
    if bounds.unit is None:
        return weights
    if sizes[more] != sizes[less]:
        return 0.0  # a whole number here would be none there
    unit = bounds.unit * sizes[more]
    return math.floor(weights / unit + _NONE) * unit
