"""Layer-wise allocation: a target for the model becomes a sparsity for each module."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

from jaxtyping import Float

from core.lazy import torch
from core.profile import ModelProfile
from core.registry import Component, component_field

Measured = Mapping[str, float | None]
"""By full module name; None where a module has nothing to measure."""


class Allocation(Component):
    """Spreads a target sparsity over the modules; the parameter-weighted mean is the target, to 1e-6."""

    kind: ClassVar[str] = "allocation"
    summary: ClassVar[str]

    @property
    def measures(self) -> str | None:
        """What has to be measured of every dense weight first, in a word; None where the profile is enough."""
        return None

    def measure(self, weight: Float[torch.Tensor, "out in"]) -> float | None:
        """The quantity of a dense weight on which the allocation rests; None where this weight has none."""
        return None

    @abstractmethod
    def sparsities(self, profile: ModelProfile, target: float, measured: Measured | None = None) -> dict[str, float]:
        """Sparsity in [0, 1) by full module name. Raises InputError where the target cannot be met."""


AnyAllocation = component_field(Allocation)
