"""Layer-wise allocations: one class a file; every file of this folder is found by itself."""

from core.allocation.base import Allocation, AnyAllocation
from core.allocation.uniform import Uniform
from core.discovery import import_all

import_all(__name__, __path__)

__all__ = ["Allocation", "AnyAllocation", "Uniform"]
