"""Layer-wise allocations: one class a file; every file of this folder is found by itself."""

from core.allocation.base import Allocation, AnyAllocation, Measured
from core.allocation.mixed import whole_numbers
from core.allocation.uniform import Uniform
from core.discovery import import_all
from core.patterns import Pattern
from core.profile import ModelProfile

import_all(__name__, __path__)


def allocate(
    allocation: Allocation, pattern: Pattern, profile: ModelProfile, target: float, measured: Measured | None = None
) -> dict[str, float]:
    """Sparsity by full module name, as ``pattern`` can have it. Raises InputError where the target cannot be met."""
    sparsities = allocation.sparsities(profile, target, measured)
    return whole_numbers(sparsities, profile, target, pattern.mixes) if pattern.mixes else sparsities


__all__ = ["Allocation", "AnyAllocation", "Uniform", "allocate"]
