"""Whole numbers out of sparsities: each block loses a whole number of every M weights."""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import InputError
from core.profile import ModelProfile

_SAME = 1e-6


def whole_numbers(sparsities: Mapping[str, float], profile: ModelProfile, target: float, m: int) -> dict[str, float]:
    """``k_b / m`` for every module of a block, 1 ≤ k_b < m, near the block's mean, with the weighted mean ``target``.

    Each block's wish is rounded down; then the blocks with the largest remainders get one more, until the mean is met.
    Raises InputError, naming the nearest sparsities that whole numbers can give, where it cannot be met to 1e-6.
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
            raise InputError(_cannot(target, m, total, missing, min(sizes.values())))
        block = max(able, key=lambda b: (step * (wishes[b] - chosen[b]), -b))
        chosen[block] += step
        missing -= step * sizes[block]
    return {module.name: chosen[module.block] / m for module in profile.modules}


def _cannot(target: float, m: int, total: int, missing: float, smallest: int) -> str:
    near = target - missing / (m * total)
    step = smallest / (m * total)
    low, high = (near, near + step) if missing > 0 else (near - step, near)
    return (
        f"sparsity = {target:g} cannot be met with a whole number of every {m} weights in each block (1 to {m - 1} of them); "
        f"near it are {low:.6g} and {high:.6g}, and {round(target * m)}/{m} = {round(target * m) / m:g} always can where "
        "blocks are alike."
    )
