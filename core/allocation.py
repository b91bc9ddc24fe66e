"""Layer-wise allocation: a target for the model becomes a sparsity for each module."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from core.profile import ModelProfile
from core.registry import Component, component_field


class Allocation(Component):
    """Spreads a target sparsity over the modules; the parameter-weighted mean is the target, to 1e-6."""

    kind: ClassVar[str] = "allocation"
    summary: ClassVar[str]

    @abstractmethod
    def sparsities(self, profile: ModelProfile, target: float) -> dict[str, float]:
        """Sparsity in [0, 1) by full module name."""


class Uniform(Allocation):
    """The same sparsity for every module."""

    name: ClassVar[str] = "uniform"
    title: ClassVar[str] = "Uniform"
    summary: ClassVar[str] = "Every module gets the target sparsity."

    def sparsities(self, profile: ModelProfile, target: float) -> dict[str, float]:
        return {module.name: target for module in profile.modules}


AnyAllocation = component_field(Allocation)
