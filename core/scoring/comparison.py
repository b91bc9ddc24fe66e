"""Which scores compete with each other, and where the cut between kept and pruned lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jaxtyping import Bool, Float, Int, Shaped

from core.lazy import torch
from core.methods.base import Method
from core.patterns import Group, Pattern, Unstructured


@dataclass(frozen=True)
class Comparison:
    """Scores compete over the whole matrix, or within each row or column of it; or of each of its parts of ``columns``
    consecutive inputs."""

    group: Group
    columns: int | None = None
    order: Int[torch.Tensor, " in"] | None = None
    """In which inputs are consecutive, where that is not the weights' own: new position -> column."""

    def groups(self, matrix: Shaped[torch.Tensor, "out in"]) -> Iterator[Shaped[torch.Tensor, "groups size"]]:
        """The entries of ``matrix`` that compete, one group a row; several tensors where groups differ in size."""
        if self.order is not None:
            matrix = matrix[:, self.order]
        width = matrix.shape[1]
        columns = self.columns or width
        if self.group == "output" and width % columns == 0:
            yield matrix.reshape(-1, columns)
            return
        for part in matrix.split(columns, dim=1):
            yield part.T if self.group == "input" else part if self.group == "output" else part.reshape(1, -1)

    def rivals(self, row: int, column: int, shape: tuple[int, int]) -> tuple[slice, Int[torch.Tensor, " columns"]]:
        """The rows and the columns of those that the weight at ``row``, ``column`` competes with, itself among them."""
        order = torch.arange(shape[1]) if self.order is None else self.order
        columns = self.columns or shape[1]
        start = int((order == column).nonzero()) // columns * columns
        rows = slice(row, row + 1) if self.group == "output" else slice(0, shape[0])
        return rows, torch.tensor([column]) if self.group == "input" else order[start : start + columns]

    @property
    def whose(self) -> str:
        """Whose cut it is, in a sentence about one weight."""
        match self.group, self.columns:
            case "layer", None:
                return "the matrix"
            case "output", None:
                return "its row"
            case "input", _:
                return "its column"
            case "output", columns:
                reallocated = "" if self.order is None else " in the reallocated order"
                return f"its group of {columns} inputs{reallocated}"
            case _, columns:
                return f"its block of {columns} columns"

    @property
    def each(self) -> str:
        """What has a cut of its own, in a sentence about a module."""
        return {"the matrix": "the whole matrix", "its row": "each row", "its column": "each column"}.get(
            self.whose, f"each {self.whose.removeprefix('its ')}"
        )


def comparison(method: Method, pattern: Pattern, order: Int[torch.Tensor, " in"] | None = None) -> Comparison | None:
    """How the scores of ``method`` compete under ``pattern``; None where a pattern from outside does not tell."""
    pattern = pattern.resolve(method.group)
    if pattern.span is not None:
        return Comparison("output", pattern.span, order)
    if isinstance(pattern, Unstructured) and pattern.group != "auto":
        return Comparison(pattern.group, method.together(pattern), order)
    return None


@dataclass(frozen=True)
class Cuts:
    """The lowest score that stays in each group, if exactly as many stay as its mask keeps; infinite where none does."""

    values: Float[torch.Tensor, " groups"]
    separates: bool
    """Whether the mask is what the scores alone decide: nothing kept lies below its cut, nothing pruned above it."""


def cuts(scores: Float[torch.Tensor, "out in"], keep: Bool[torch.Tensor, "out in"], compared: Comparison) -> Cuts:
    """The cuts of all groups, in the order of ``Comparison.groups``."""
    found, separates = [], True
    for group, kept in zip(compared.groups(scores), compared.groups(keep), strict=True):
        cut = _lowest_of_the_highest(group, kept.sum(dim=1))
        found.append(cut)
        separates &= not bool(((kept & (group < cut[:, None])) | (~kept & (group > cut[:, None]))).any())
    return Cuts(torch.cat(found), separates)


def _lowest_of_the_highest(
    scores: Float[torch.Tensor, "groups size"], counts: Int[torch.Tensor, " groups"]
) -> Float[torch.Tensor, " groups"]:
    """The lowest among the ``counts`` highest scores of each group; infinite where none is wanted."""
    size = scores.shape[1]
    if bool((counts == counts[0]).all()) and counts[0] > 0:  # an order of all would take several times as long
        return scores.kthvalue(size - int(counts[0]) + 1, dim=1).values
    lowest = scores.sort(dim=1).values.gather(1, (size - counts).clamp(max=size - 1)[:, None])[:, 0]
    return lowest.masked_fill(counts == 0, torch.inf)
