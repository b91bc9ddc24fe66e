"""Patterns: which weights survive, given their scores and a sparsity.

Selection is exact: every comparison group loses ``int(group_size * sparsity)`` weights, ties going to the lowest index
first (METHODS.md, "Masks"). A threshold never decides.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import ClassVar, Literal, Self

from jaxtyping import Bool, Float
from pydantic import Field, model_validator

from core.errors import InputError
from core.lazy import torch
from core.registry import Component, component_field
from core.selection import smallest, trues_by_row

Group = Literal["layer", "output", "input"]


class Pattern(Component):
    """Turns scores into a keep mask (True survives)."""

    kind: ClassVar[str] = "pattern"

    @abstractmethod
    def keep(self, scores: Float[torch.Tensor, "out in"], sparsity: float) -> Bool[torch.Tensor, "out in"]:
        """The keep mask of ``scores`` at ``sparsity``, the fraction to prune."""

    @property
    def sparsity(self) -> float | None:
        """The sparsity this pattern always has, or None where it can be chosen."""
        return None

    @property
    def span(self) -> int | None:
        """How many consecutive inputs must be decided together, or None where any number will do."""
        return None

    @property
    def mixes(self) -> int | None:
        """M where every block has an N of its own, or None."""
        return None

    def resolve(self, group: Group) -> Pattern:
        """This pattern with the method's own comparison group where the user left it open."""
        return self

    def at(self, sparsity: float) -> Pattern:
        """What this pattern is for a module of this sparsity."""
        return self

    def check(self, module: str, shape: tuple[int, int]) -> None:
        """Raises InputError, naming ``module``, if a weight of ``shape`` [out, in] cannot take this pattern."""

    def violation(self, keep: Bool[torch.Tensor, "out in"], sparsity: float) -> str | None:
        """How ``keep`` breaks this pattern's promise, in a few words; None where it holds."""
        return None

    @property
    def label(self) -> str:
        return self.title

    @classmethod
    def parse(cls, text: str) -> Self:
        if match := re.fullmatch(r"\s*(\d+)\s*:\s*(\d+)\s*", text):
            return cls.registry["nm"](n=int(match[1]), m=int(match[2]))  # type: ignore[no-any-return]
        if match := re.fullmatch(r"\s*[Nn]\s*:\s*(\d+)\s*", text):
            return cls.registry["mixed_nm"](m=int(match[1]))  # type: ignore[no-any-return]
        return super().parse(text)


class Unstructured(Pattern):
    """Any weight may go; scores compete within a comparison group."""

    name: ClassVar[str] = "unstructured"
    title: ClassVar[str] = "Unstructured"

    group: Literal["auto", "layer", "output", "input"] = Field(
        "auto",
        title="Comparison group",
        description="Where scores compete: the whole matrix (layer), each row (output), each column (input), "
        "or the method's own default (auto).",
    )

    def resolve(self, group: Group) -> Pattern:
        return self if self.group != "auto" else Unstructured(group=group)

    def keep(self, scores: Float[torch.Tensor, "out in"], sparsity: float) -> Bool[torch.Tensor, "out in"]:
        if not 0 <= sparsity < 1:
            raise InputError(f"sparsity = {sparsity} is outside [0, 1); choose a fraction such as 0.5.")
        if self.group == "auto":
            raise InputError("group = 'auto' has no meaning without a method; choose layer, output or input.")
        if self.group == "input":
            return ~smallest(scores.T, int(scores.shape[0] * sparsity)).T.contiguous()
        groups = scores.reshape(1, -1) if self.group == "layer" else scores
        return ~smallest(groups, int(groups.shape[1] * sparsity)).reshape(scores.shape)

    def violation(self, keep: Bool[torch.Tensor, "out in"], sparsity: float) -> str | None:
        groups = {"layer": keep.reshape(1, -1), "input": keep.T}.get(self.group, keep)
        pruned = groups.shape[1] - trues_by_row(groups)
        expected = int(groups.shape[1] * sparsity)
        wrong = int((pruned != expected).sum())
        if not wrong:
            return None
        return f"{wrong} of {len(groups)} comparison groups do not lose exactly {expected} of {groups.shape[1]} weights"


class NM(Pattern):
    """Of every M consecutive inputs of a row, the N highest scores survive."""

    name: ClassVar[str] = "nm"
    title: ClassVar[str] = "N:M"

    n: int = Field(
        2, ge=1, title="N (survive)", description="How many of M consecutive weights survive: 1:4 is 75 % sparse."
    )
    m: int = Field(4, ge=2, title="M (of)", description="How many consecutive inputs of a row form a group.")

    @model_validator(mode="after")
    def _n_below_m(self) -> Self:
        if self.n >= self.m:
            raise InputError(
                f"pattern = {self.n}:{self.m} prunes nothing, since N of every M weights survive; choose N < M, such as 2:4."
            )
        return self

    @property
    def sparsity(self) -> float:
        return 1 - self.n / self.m

    @property
    def span(self) -> int:
        return self.m

    @property
    def label(self) -> str:
        return f"{self.n}:{self.m}"

    def check(self, module: str, shape: tuple[int, int]) -> None:
        _check_divisible(self.label, self.m, module, shape)

    def keep(self, scores: Float[torch.Tensor, "out in"], sparsity: float) -> Bool[torch.Tensor, "out in"]:
        if abs(sparsity - self.sparsity) > 1e-9:
            raise InputError(f"sparsity = {sparsity} contradicts {self.label}, which is {self.sparsity} sparse.")
        self.check("the matrix", (scores.shape[0], scores.shape[1]))
        return ~smallest(scores.reshape(-1, self.m), self.m - self.n).reshape(scores.shape)

    def violation(self, keep: Bool[torch.Tensor, "out in"], sparsity: float) -> str | None:
        kept = trues_by_row(keep.reshape(-1, self.m))
        wrong = int((kept != self.n).sum())
        return f"{wrong} of {len(kept)} groups of {self.m} do not keep exactly {self.n}" if wrong else None


class MixedNM(Pattern):
    """N:M with an N for every block, chosen by the allocation: what the model as a whole loses is free."""

    name: ClassVar[str] = "mixed_nm"
    title: ClassVar[str] = "N:M, N by block"

    m: int = Field(8, ge=2, title="M (of)", description="How many consecutive inputs of a row form a group.")

    @property
    def mixes(self) -> int:
        return self.m

    @property
    def span(self) -> int:
        return self.m

    @property
    def label(self) -> str:
        return f"N:{self.m}"

    def at(self, sparsity: float) -> NM:
        """N:M with the N that comes nearest."""
        return NM(n=min(max(self.m - round(sparsity * self.m), 1), self.m - 1), m=self.m)

    def check(self, module: str, shape: tuple[int, int]) -> None:
        _check_divisible(self.label, self.m, module, shape)

    def keep(self, scores: Float[torch.Tensor, "out in"], sparsity: float) -> Bool[torch.Tensor, "out in"]:
        return self.at(sparsity).keep(scores, sparsity)

    def violation(self, keep: Bool[torch.Tensor, "out in"], sparsity: float) -> str | None:
        return self.at(sparsity).violation(keep, sparsity)


def _check_divisible(label: str, m: int, module: str, shape: tuple[int, int]) -> None:
    if shape[1] % m:
        raise InputError(
            f"pattern = {label} does not fit {module}: its {shape[1]} inputs are not divisible by {m}; "
            f"choose another M or an unstructured pattern."
        )


AnyPattern = component_field(Pattern)
