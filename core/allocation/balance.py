"""Wishes made to meet a target: scaled or shifted to the weighted mean, clamped to what a sparsity can be, the rest
redistributed."""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import InputError
from core.profile import ModelProfile

TOLERANCE = 1e-6
"""How far the weighted mean of an allocation may be from its target."""
HIGHEST = 0.99
"""No module is asked to lose more, unless the whole model is."""


def balance(
    wishes: Mapping[str, float], sizes: Mapping[str, int], target: float, highest: float = HIGHEST
) -> dict[str, float]:
    """Sparsities proportional to ``wishes`` (≥ 0) whose mean, weighted by ``sizes``, is ``target``.

    What would leave [0, highest] stays at its end, and the others share the rest in proportion to their wishes. Raises
    InputError where no wish above 0 is left to take the rest.
    """
    highest = max(highest, target)
    total = sum(sizes.values())
    clamped: set[str] = set()
    while True:
        free = [name for name in wishes if name not in clamped]
        room = target * total - sum(highest * sizes[name] for name in clamped)
        wished = sum(wishes[name] * sizes[name] for name in free)
        if wished <= 0:
            if abs(room) <= 1e-9 * total:
                return {name: highest if name in clamped else 0.0 for name in wishes}
            raise InputError(
                f"sparsity = {target:g} cannot be reached: modules of this allocation that may be pruned would have to lose "
                f"more than {highest:.0%}; lower the sparsity, or choose another allocation."
            )
        scale = room / wished
        over = {name for name in free if wishes[name] * scale > highest}
        if not over:
            return {name: highest if name in clamped else wishes[name] * scale for name in wishes}
        clamped |= over


def shift(wishes: Mapping[str, float], sizes: Mapping[str, int], target: float) -> dict[str, float]:
    """Sparsities ``wish + t``, clamped to [0, highest], with the one t for which their weighted mean is ``target``.

    The mean rises with t in straight pieces, between the values of t at which a module reaches one of its ends; t lies in
    the first piece whose end reaches the target.
    """
    highest = max(HIGHEST, target)
    total = sum(sizes.values())

    def mean(t: float) -> float:
        return sum(min(max(wishes[name] + t, 0.0), highest) * sizes[name] for name in wishes) / total

    ends = sorted({end - wish for wish in wishes.values() for end in (0.0, highest)})
    after = next(place for place, t in enumerate(ends) if mean(t) >= target or place == len(ends) - 1)
    t = ends[after]
    if after and mean(t) > target:
        before = ends[after - 1]
        t = before + (target - mean(before)) / (mean(t) - mean(before)) * (t - before)
    return {name: min(max(wish + t, 0.0), highest) for name, wish in wishes.items()}


def spread(values: Mapping[str, float], epsilon: float) -> dict[str, float]:
    """``values`` mapped linearly to ``[1 - epsilon, 1 + epsilon]``; all 1 where they are the same."""
    low, high = min(values.values()), max(values.values())
    if high == low:
        return dict.fromkeys(values, 1.0)
    step = 2 * epsilon / (high - low)
    return {name: 1 - epsilon + (value - low) * step for name, value in values.items()}


def block_means(profile: ModelProfile, values: Mapping[str, float]) -> dict[str, float]:
    """Each module's block's plain mean."""
    by_block: dict[int, list[float]] = {}
    for module in profile.modules:
        by_block.setdefault(module.block, []).append(values[module.name])
    means = {block: sum(found) / len(found) for block, found in by_block.items()}
    return {module.name: means[module.block] for module in profile.modules}


def complete(profile: ModelProfile, measured: Mapping[str, float | None] | None, quantity: str) -> dict[str, float]:
    """Every module's measured value; modules without one get the others' mean. Raises InputError where none has one."""
    known = {name: value for name, value in (measured or {}).items() if value is not None}
    if not known:
        raise InputError(f"No module has a {quantity} that an allocation could rest on; choose another allocation.")
    mean = sum(known.values()) / len(known)
    return {module.name: known.get(module.name, mean) for module in profile.modules}


def sizes_of(profile: ModelProfile) -> dict[str, int]:
    return {module.name: module.parameters for module in profile.modules}
