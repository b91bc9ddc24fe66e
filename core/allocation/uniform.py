"""The same sparsity everywhere."""

from __future__ import annotations

from typing import ClassVar

from core.allocation.base import Allocation, Measured
from core.profile import ModelProfile


class Uniform(Allocation):
    """The same sparsity for every module."""

    name: ClassVar[str] = "uniform"
    title: ClassVar[str] = "Uniform"
    summary: ClassVar[str] = "Every module gets the target sparsity."

    def sparsities(self, profile: ModelProfile, target: float, measured: Measured | None = None) -> dict[str, float]:
        return {module.name: target for module in profile.modules}
