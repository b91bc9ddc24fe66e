"""What a pruning method is: scores or solves, one weight matrix at a time."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float

from core.lazy import torch
from core.patterns import Group, Pattern
from core.registry import Component, component_field
from core.statistics import InputStatistics


@dataclass(frozen=True)
class Pruned:
    """A pruned matrix: ``weight`` [out, in] float32 with zeros in place, ``keep`` [out, in] True where it survives.

    ``dead_inputs`` [in] marks inputs that were zero for every calibration token where the method zeroes their weights;
    these zeros come on top of the mask's and are never counted as pruned.
    """

    weight: torch.Tensor
    keep: torch.Tensor
    dead_inputs: torch.Tensor | None = None


class Method(Component):
    """A pruning method; its fields are its hyper-parameters, from which forms, CLI options and JSON are made."""

    kind: ClassVar[str] = "method"
    summary: ClassVar[str]
    reference: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised whenever the results change, so that old runs are not mistaken for new ones."""
    needs: ClassVar[frozenset[str]] = frozenset()
    """Names of the statistics that ``prune`` reads."""
    group: ClassVar[Group] = "layer"
    """The comparison group of unstructured pruning unless the user chooses one."""

    @abstractmethod
    def prune(
        self,
        weight: Float[torch.Tensor, "out in"],
        stats: InputStatistics,
        pattern: Pattern,
        sparsity: float,
    ) -> Pruned:
        """Prunes ``weight`` (float32, left as it is) to ``sparsity`` under ``pattern``."""


class ScoreMethod(Method):
    """A method that is nothing but a score: the pattern keeps the highest, survivors stay as they were."""

    @abstractmethod
    def score(self, weight: Float[torch.Tensor, "out in"], stats: InputStatistics) -> Float[torch.Tensor, "out in"]:
        """How important each weight is; higher survives."""

    def prune(
        self,
        weight: Float[torch.Tensor, "out in"],
        stats: InputStatistics,
        pattern: Pattern,
        sparsity: float,
    ) -> Pruned:
        keep: Bool[torch.Tensor, "out in"] = pattern.resolve(self.group).keep(self.score(weight, stats), sparsity)
        return Pruned(weight * keep, keep)


AnyMethod = component_field(Method)
