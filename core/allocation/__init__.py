"""Layer-wise allocations: one class a file; every file of this folder is found by itself."""

from collections.abc import Mapping

from core.allocation.balance import TOLERANCE
from core.allocation.base import Allocation, AnyAllocation, Measured
from core.allocation.mixed import whole_numbers
from core.allocation.uniform import Uniform
from core.discovery import import_all
from core.errors import InputError
from core.patterns import Pattern
from core.profile import ModelProfile

import_all(__name__, __path__)


def allocate(
    allocation: Allocation, pattern: Pattern, profile: ModelProfile, target: float, measured: Measured | None = None
) -> dict[str, float]:
    """Sparsity by full module name, as ``pattern`` can have it.

    Raises InputError where the target cannot be met, or where the allocation (a plugin's, say) breaks its promise.
    """
    sparsities = allocation.sparsities(profile, target, measured)
    _check(allocation, sparsities, profile, target)
    return whole_numbers(sparsities, profile, target, pattern.mixes) if pattern.mixes else sparsities


def _check(allocation: Allocation, sparsities: Mapping[str, float], profile: ModelProfile, target: float) -> None:
    names = {module.name for module in profile.modules}
    if odd := sorted(names ^ {*sparsities}):
        raise InputError(f"allocation = {allocation.name} must name every module once; look at {odd[0]}.")
    if bad := [name for name, value in sparsities.items() if not 0 <= value < 1]:
        raise InputError(
            f"allocation = {allocation.name} gives {bad[0]} the sparsity {sparsities[bad[0]]}, outside [0, 1)."
        )
    mean = sum(sparsities[module.name] * module.parameters for module in profile.modules) / profile.prunable
    if abs(mean - target) > TOLERANCE:
        raise InputError(
            f"allocation = {allocation.name} has the mean {mean:.6f}, not the target {target:g}; scale it."
        )


__all__ = ["Allocation", "AnyAllocation", "Uniform", "allocate"]
