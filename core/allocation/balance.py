"""Wishes made to meet a target: scaled to the weighted mean, clamped to what a sparsity can be, the rest redistributed."""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import InputError

HIGHEST = 0.99
"""No module is asked to lose more, unless the whole model is."""


def balance(wishes: Mapping[str, float], sizes: Mapping[str, int], target: float) -> dict[str, float]:
    """Sparsities proportional to ``wishes`` (≥ 0) whose mean, weighted by ``sizes``, is ``target``.

    What would leave [0, highest] stays at its end, and the others share the rest in proportion to their wishes. Raises
    InputError where no wish above 0 is left to take the rest.
    """
    highest = max(HIGHEST, target)
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
