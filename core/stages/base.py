"""What a stage is: a step that rearranges, updates, refines or replaces what a method did."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from jaxtyping import Float, Shaped

from core.lazy import torch
from core.methods.base import Method, Pruned
from core.patterns import Pattern
from core.reference import Reference
from core.registry import Component, component_field
from core.statistics import InputStatistics

Report = dict[str, float]
"""Figures a stage has to tell, by name."""


class Stage(Component):
    """A step after, or inside, a method's choice; its fields are its parameters. Stages run in the order of ``order``."""

    kind: ClassVar[str] = "stage"
    summary: ClassVar[str]
    formula: ClassVar[str]
    reference: ClassVar[Reference]
    needs: ClassVar[frozenset[str]] = frozenset()
    order: ClassVar[int]

    def check(self, method: Method, pattern: Pattern) -> None:
        """Raises InputError, naming both sides, where this stage does not go with ``method`` or ``pattern``."""

    def flops(self, shape: tuple[int, int], tokens: int) -> float:
        """About how many operations it takes for a matrix of ``shape`` [out, in], beside collecting its statistics."""
        return 0.0


@dataclass(frozen=True)
class Choice:
    """A keep mask [out, in] in the weights' own order, and the order of inputs in which the pattern holds."""

    keep: torch.Tensor
    permutation: torch.Tensor | None = None
    """[in]: new position -> column."""
    report: Report = field(default_factory=dict)


class MaskStage(Stage):
    """Chooses the mask of a matrix from its scores in the pattern's stead."""

    @abstractmethod
    def choose(
        self, scores: Float[torch.Tensor, "out in"], pattern: Pattern, sparsity: float
    ) -> Iterator[str | Choice]:
        """Words about what it is doing, and at last the choice."""


class RefineStage(Stage):
    """Changes the mask of a matrix, whose counts and pattern stay; what survives is dense."""

    def chooses(self, module: str) -> bool:
        """Whether the module, by full name, is refined."""
        return True

    @abstractmethod
    def refine_mask(
        self,
        dense: Float[torch.Tensor, "out in"],
        pruned: Pruned,
        stats: InputStatistics,
        pattern: Pattern,
        permutation: torch.Tensor | None,
    ) -> Pruned:
        """The dense matrix under a new mask; ``permutation``: the order of inputs in which ``pattern`` holds."""


class UpdateStage(Stage):
    """Changes the surviving weights of a matrix, whose mask stays."""

    @abstractmethod
    def update(self, dense: Float[torch.Tensor, "out in"], pruned: Pruned, stats: InputStatistics) -> Pruned:
        """The pruned matrix with new survivors."""


@dataclass(frozen=True)
class Group:
    """Modules of a block that are refined together, with what their own dense weights would do differently.

    ``dense`` and ``pruned`` hold weights by full module name. ``gradients`` yields, for each calibration sequence, the
    loss ``mean((dense(x) - pruned(x))^2)`` at the group's output and its gradient in the dense weights; ``loss`` yields
    the losses alone, of the weights as they are now (they are read anew).
    """

    name: str
    dense: Mapping[str, torch.Tensor]
    pruned: Mapping[str, Pruned]
    gradients: Callable[[], Iterator[tuple[float, Mapping[str, torch.Tensor]]]]
    loss: Callable[[Mapping[str, torch.Tensor]], Iterator[float]]
    """Of the group with these weights by module name."""


@dataclass(frozen=True)
class Refined:
    """What a block stage made of a group: pruned matrices and figures by full module name, and figures of the group."""

    pruned: Mapping[str, Pruned]
    modules: Mapping[str, Report]
    report: Report


class BlockStage(Stage):
    """Refines the modules of a block together, group by group (attention, then MLP), before its output goes on."""

    @property
    def resets(self) -> bool:
        """True where it puts dense values in the place of survivors that were updated."""
        return False

    @abstractmethod
    def refine(
        self, group: Group, pattern: Pattern, permutations: Mapping[str, torch.Tensor | None]
    ) -> Iterator[str | Refined]:
        """Words about what it is doing, and at last the result."""


@dataclass(frozen=True)
class WholeBlock:
    """A pruned block on the calibration text: its matrices by full module name, and ``loss(window, weights)``, which is
    ``mean((block(x) - y)^2)`` with these weights [out, in] and lets gradients flow back to them."""

    pruned: Mapping[str, Pruned]
    windows: int
    loss: Callable[[int, Mapping[str, torch.Tensor]], torch.Tensor]


@dataclass(frozen=True)
class Tuned:
    """Matrices with new survivors by full module name, and figures of the block: by epoch n the errors ``held_out_n`` (0:
    untuned) and ``training_n``, and ``held_out_lowest``, which is that of the weights that were kept."""

    pruned: Mapping[str, Pruned]
    report: Report


class TuneStage(Stage):
    """Trains the surviving weights of a whole block, before its output goes on; masks stay."""

    target: Literal["dense", "sparse"]
    """What the block should give: what the dense model has there, or the dense block on the pruned model's hidden states."""

    @abstractmethod
    def tune(self, block: WholeBlock) -> Iterator[str | Tuned]:
        """Words about what it is doing, several a second where windows are short, and at last the result."""


@dataclass(frozen=True)
class Factors:
    """``left @ right`` [out, rank] @ [rank, in] in the place of a matrix, and figures about the exchange."""

    left: torch.Tensor
    right: torch.Tensor
    report: Report


class FactorStage(Stage):
    """Replaces matrices by products of two thinner ones."""

    @abstractmethod
    def chooses(self, module: str, label: str) -> bool:
        """Whether the module, by full name and name within its block, is replaced."""

    @abstractmethod
    def check_module(self, module: str, shape: tuple[int, int]) -> None:
        """Raises InputError, naming ``module``, where a weight of ``shape`` [out, in] cannot be replaced."""

    @abstractmethod
    def factor(self, module: str, weight: Float[torch.Tensor, "out in"]) -> Factors:
        """The product that replaces ``weight``. Raises InputError naming ``module``."""


def permuted(
    matrix: Shaped[torch.Tensor, "out in"], permutation: torch.Tensor | None
) -> Shaped[torch.Tensor, "out in"]:
    """A mask or metric in the order of inputs in which its pattern holds."""
    return matrix if permutation is None else matrix[:, permutation.to(matrix.device)]


AnyStage = component_field(Stage)
