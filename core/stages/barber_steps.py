"""LLM-Barber's swaps, one pair at a time, to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from jaxtyping import Bool, Float, Int

from core.lazy import torch
from core.stages.barber import Granularity, comparison_groups, paired


class Place(NamedTuple):
    """A weight of one of the modules."""

    module: str
    row: int
    column: int


class Pair(NamedTuple):
    """A pruned weight beside a kept one of its comparison group, with their metrics; ``swapped`` where they change places."""

    grow: Place
    cut: Place
    grow_metric: float
    cut_metric: float
    swapped: bool

    @property
    def mismatched(self) -> bool:
        """Whether the pruned one means more than the kept one."""
        return self.grow_metric > self.cut_metric


def swap_pairs(
    metrics: Mapping[str, Float[torch.Tensor, "out in"]],
    keeps: Mapping[str, Bool[torch.Tensor, "out in"]],
    granularity: Granularity,
    threshold: float,
) -> list[Pair]:
    """All pairs that ``rebuild`` looks at, without N:M, group after group, in the order in which they are considered."""
    numbered, start = {}, 0
    for name, keep in keeps.items():
        numbered[name] = torch.arange(start, start + keep.numel()).reshape(keep.shape)
        start += keep.numel()
    groups = [comparison_groups(tensors, granularity) for tensors in (metrics, keeps, numbered)]
    places = _places(keeps)
    found: list[Pair] = []
    for name in groups[0]:
        metric, keep, numbers = (group[name] for group in groups)
        for each in zip(metric, keep, numbers, strict=True):
            found += _of_group(*each, places, threshold)
    return found


def _of_group(
    metric: Float[torch.Tensor, " size"],
    keep: Bool[torch.Tensor, " size"],
    numbers: Int[torch.Tensor, " size"],
    places: list[Place],
    threshold: float,
) -> list[Pair]:
    pairs = paired(metric[None], keep[None])
    swaps = int(pairs.swaps(threshold))
    both = min(int(keep.sum()), int((~keep).sum()))  # where one side has run out there is no pair
    return [
        Pair(
            places[int(numbers[pairs.grow[0, k]])],
            places[int(numbers[pairs.cut[0, k]])],
            float(pairs.pruned[0, k]),
            float(pairs.kept[0, k]),
            k < swaps,
        )
        for k in range(both)
    ]


def _places(keeps: Mapping[str, torch.Tensor]) -> list[Place]:
    """By number, in the order in which the modules and their weights are counted."""
    return [
        Place(name, row, column)
        for name, keep in keeps.items()
        for row in range(len(keep))
        for column in range(keep.shape[1])
    ]


def swapped(keeps: Mapping[str, Bool[torch.Tensor, "out in"]], pair: Pair) -> dict[str, Bool[torch.Tensor, "out in"]]:
    """The masks after this swap."""
    new = {name: keep.clone() for name, keep in keeps.items()}
    new[pair.grow.module][pair.grow.row, pair.grow.column] = True
    new[pair.cut.module][pair.cut.row, pair.cut.column] = False
    return new
