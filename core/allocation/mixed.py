"""Whole numbers out of sparsities: each block loses a whole number of every M weights."""

from __future__ import annotations

import math
from collections.abc import Mapping

from core.errors import InputError
from core.profile import ModelProfile

_SAME, _SECONDS = 1e-6, 10.0


def whole_numbers(sparsities: Mapping[str, float], profile: ModelProfile, target: float, m: int) -> dict[str, float]:
    """``k_b / m`` for every module of a block, 1 ≤ k_b < m, near the block's mean, with the weighted mean ``target``.

    Each block's wish is rounded down; then the blocks with the largest remainders get one more, until the mean is met. Where
    blocks of different sizes leave a rest that way, the nearest whole numbers are found by integer programming.
    Raises InputError where no whole numbers meet the mean to 1e-6.
    """
    sizes: dict[int, int] = {}
    lost: dict[int, float] = {}
    for module in profile.modules:
        sizes[module.block] = sizes.get(module.block, 0) + module.parameters
        lost[module.block] = lost.get(module.block, 0.0) + sparsities[module.name] * module.parameters
    wishes = {block: m * lost[block] / sizes[block] for block in sizes}
    chosen = {block: min(max(int(wish), 1), m - 1) for block, wish in wishes.items()}
    total = sum(sizes.values())
    missing = target * m * total - sum(chosen[block] * sizes[block] for block in chosen)
    step = 1 if missing > 0 else -1
    while abs(missing) > _SAME * m * total:
        able = [b for b in chosen if 1 <= chosen[b] + step < m and sizes[b] <= abs(missing) * (1 + _SAME)]
        if not able:
            chosen = _programmed(wishes, sizes, target, m)
            break
        block = max(able, key=lambda b: (step * (wishes[b] - chosen[b]), -b))
        chosen[block] += step
        missing -= step * sizes[block]
    return {module.name: chosen[module.block] / m for module in profile.modules}


def _programmed(wishes: Mapping[int, float], sizes: Mapping[int, int], target: float, m: int) -> dict[int, int]:
    """The k that minimise ``sum_b size_b |k_b - wish_b|`` with the exact mean; the distances are variables of their own."""
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    shares = np.array([sizes[block] for block in wishes]) / sum(sizes.values())
    wanted, one, none = np.array(list(wishes.values())), np.eye(len(wishes)), np.zeros(len(wishes))
    found = milp(
        np.concatenate([none, shares]),
        integrality=np.concatenate([none + 1, none]),
        bounds=Bounds(np.concatenate([none + 1, none]), np.concatenate([none + m - 1, none + m])),
        constraints=[
            LinearConstraint(np.concatenate([shares, none]), target * m - _SAME, target * m + _SAME),
            LinearConstraint(np.hstack([one, -one]), -np.inf, wanted),
            LinearConstraint(np.hstack([-one, -one]), -np.inf, -wanted),
        ],
        options={"time_limit": _SECONDS},
    )
    if found.x is None:
        low = min(max(math.floor(target * m), 1), m - 2)
        raise InputError(
            f"sparsity = {target:g} cannot be met with a whole number of every {m} weights in each block (1 to {m - 1}); "
            f"{low}/{m} = {low / m:g} and {low + 1}/{m} = {(low + 1) / m:g} always can."
        )
    return {block: round(value) for block, value in zip(wishes, found.x[: len(wishes)], strict=True)}
