"""What a pruning method is: scores or solves, one weight matrix at a time."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from jaxtyping import Bool, Float

from core.errors import InputError
from core.lazy import torch
from core.patterns import Group, Pattern
from core.reference import Reference
from core.registry import Component, component_field
from core.selection import masked
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
    report: Mapping[str, float] = field(default_factory=dict)
    """Figures to tell, by name."""
    untouched: bool = field(default=False, init=False)
    """True where the survivors are known to be what they were: of what ``masked`` made."""

    @classmethod
    def masked(cls, weight: Float[torch.Tensor, "out in"], keep: Bool[torch.Tensor, "out in"]) -> Pruned:
        """``weight`` under a mask, with nothing else changed."""
        pruned = cls(masked(weight, keep), keep)
        object.__setattr__(pruned, "untouched", True)  # frozen, and not to be claimed by anybody else
        return pruned


class Method(Component):
    """A pruning method; its fields are its hyper-parameters, from which forms, CLI options and JSON are made."""

    kind: ClassVar[str] = "method"
    summary: ClassVar[str]
    """One paragraph a student understands."""
    formula: ClassVar[str]
    """LaTeX."""
    reference: ClassVar[Reference]
    needs: ClassVar[frozenset[str]] = frozenset()
    """Names of the statistics that ``prune`` reads."""
    group: ClassVar[Group] = "layer"
    """The comparison group of unstructured pruning unless the user chooses one."""
    joint: ClassVar[bool] = False
    """True where matrices that read the same input are better pruned together; the engine then calls ``prune_joint``."""
    exact: ClassVar[bool] = True
    """False where the method meets the sparsity only roughly; the engine then checks no counts."""

    def check(self, pattern: Pattern) -> None:
        """Raises InputError, naming both, where this method cannot work with ``pattern``."""

    @property
    def updates(self) -> bool:
        """True where surviving weights change."""
        return False

    @property
    def whole_matrix(self) -> bool:
        """True where the mask of a matrix follows at once from ``score``, so that a stage may choose it instead."""
        return False

    def score(self, weight: Float[torch.Tensor, "out in"], stats: InputStatistics) -> Float[torch.Tensor, "out in"]:
        """How important each weight is; higher survives. Raises InputError where the method has no such scores."""
        raise InputError(f"method = {self.name} chooses its mask while it goes, so it has no scores of a whole matrix.")

    def working(self, weight: float, norm: float) -> str:
        """What of one weight, and of the norm of its input, goes into its score, in a few words."""
        return f"|w| = {abs(weight):.3g}" + (f", input norm {norm:.3g}" if self.needs else "")

    def apply(
        self, weight: Float[torch.Tensor, "out in"], keep: Bool[torch.Tensor, "out in"], stats: InputStatistics
    ) -> Pruned:
        """``weight`` under a mask that was chosen from ``score``."""
        return Pruned.masked(weight, keep)

    def together(self, pattern: Pattern) -> int | None:
        """How many columns an unstructured mask is chosen in at a time, each with its exact count; None: all of them."""
        return None

    @abstractmethod
    def prune(
        self,
        weight: Float[torch.Tensor, "out in"],
        stats: InputStatistics,
        pattern: Pattern,
        sparsity: float,
    ) -> Pruned:
        """Prunes ``weight`` (float32, left as it is) to ``sparsity`` under ``pattern``."""

    def prune_joint(
        self,
        weights: Sequence[Float[torch.Tensor, "_ in"]],
        stats: InputStatistics,
        patterns: Sequence[Pattern],
        sparsities: Sequence[float],
    ) -> list[Pruned]:
        """What ``prune`` makes of each of ``weights``, which all read the input that ``stats`` describe."""
        each = zip(weights, patterns, sparsities, strict=True)
        return [self.prune(weight, stats, pattern, sparsity) for weight, pattern, sparsity in each]


class ScoreMethod(Method):
    """A method that is nothing but a score: the pattern keeps the highest, survivors stay as they were."""

    @property
    def whole_matrix(self) -> bool:
        return True

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
        return self.apply(weight, pattern.resolve(self.group).keep(self.score(weight, stats), sparsity), stats)


AnyMethod = component_field(Method)
