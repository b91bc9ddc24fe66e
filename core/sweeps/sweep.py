"""A sweep, written down: a config and the axes along which it varies."""

from __future__ import annotations

import copy
import itertools
import json
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, Field, ValidationError, field_validator

from core.config import RunConfig
from core.errors import InputError, explain
from core.patterns import Pattern
from core.sweeps.axis import PATTERN, SEED, SPARSITY, Axis, value_at

LIMIT = 2000
"""The most points a sweep may have."""


class LeftOut(BaseModel, frozen=True):
    """A combination that is no run, in words by path, and why."""

    choice: dict[str, str]
    reason: str


class Planned(NamedTuple):
    """A point that can be: its config, the axes' values by path, and when its turn comes (the lowest first)."""

    config: RunConfig
    choice: dict[str, Any]
    turn: tuple[int, ...]


class Sweep(BaseModel, frozen=True, extra="forbid"):
    """``base`` with every combination of the axes' values; each point is a run of its own.

    What does not go together is left out and told (``left_out``); combinations that come to the same run are one point.
    Raises InputError for no axis, an axis twice, or more than ``LIMIT`` combinations.
    """

    base: RunConfig = Field(default_factory=RunConfig)
    axes: tuple[Axis, ...]

    @field_validator("axes")
    @classmethod
    def _differ(cls, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
        paths = [axis.path for axis in axes]
        if not paths:
            raise InputError("A sweep needs an axis; give one, such as sparsity = 0.3, 0.5, 0.7.")
        if twice := sorted({path for path in paths if paths.count(path) > 1}):
            raise InputError(f"axis {twice[0]} is given twice; put all its values into one.")
        patterns = [value for axis in axes if axis.path == SPARSITY for value in axis.values if isinstance(value, str)]
        if patterns and PATTERN in paths:
            raise InputError(f"axis sparsity = {patterns[0]!r} is a pattern, and so is axis pattern; put it there.")
        count = math.prod(len(axis.values) for axis in axes)
        if count > LIMIT:
            raise InputError(f"The axes make {count:,} combinations, and {LIMIT:,} are the most; give fewer values.")
        return axes

    @classmethod
    def of(cls, base: RunConfig, **axes: Sequence[Any]) -> Self:
        """A sweep from axes by name, ``__`` standing for the dot: ``calibration__seed=(0, 1)``."""
        return cls(base=base, axes=tuple(Axis.of(name.replace("__", "."), *values) for name, values in axes.items()))

    def canonical(self) -> str:
        """The same JSON text for the same sweep."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def title(self) -> str:
        """A short name for lists: the axes along which it varies, and how many values each has."""
        varied = [axis for axis in self.axes if len(axis.values) > 1] or self.axes
        return " × ".join(f"{axis.path} ({len(axis.values)})" for axis in varied)

    def words(self, config: RunConfig) -> str:
        """A point's short name: its run's, with what that does not tell."""
        further = (f"{axis.path} {value_at(config, axis.path)}" for axis in self.axes if "." in axis.path)
        return ", ".join([config.title, *further])

    @property
    def paths(self) -> list[str]:
        return [axis.path for axis in self.axes]

    @property
    def planned(self) -> list[Planned]:
        """The points in the order of the axes, the last one varying fastest."""
        return self._combined[0]

    @property
    def left_out(self) -> list[LeftOut]:
        return self._combined[1]

    def without(self, choice: dict[str, Any], reason: str) -> LeftOut:
        """What tells that the point with these values, by path, is left out."""
        return LeftOut(choice={axis.path: axis.words(choice[axis.path]) for axis in self.axes}, reason=reason)

    @cached_property
    def _combined(self) -> tuple[list[Planned], list[LeftOut]]:
        planned: dict[str, Planned] = {}
        left_out = []
        base = self.base.model_dump(mode="json")
        ranks = [_ranks(axis) for axis in self.axes]
        slowest_first = sorted(range(len(self.axes)), key=lambda number: _PRIORITY.get(self.axes[number].path, 3))
        for places in itertools.product(*(range(len(axis.values)) for axis in self.axes)):
            choice = {axis.path: axis.values[place] for axis, place in zip(self.axes, places, strict=True)}
            try:
                config = _with(base, choice)
            except ValidationError as error:
                left_out.append(self.without(choice, explain(error)))
                continue
            turn = tuple(ranks[number][places[number]] for number in slowest_first)
            planned.setdefault(config.canonical(), Planned(config, choice, turn))
        return list(planned.values()), left_out


_PRIORITY = {"model": 0, SEED: 1, SPARSITY: 2, PATTERN: 2}
"""One model after the other; then every point once before any with another seed; then the sparsities, coarse to fine."""


def _ranks(axis: Axis) -> list[int]:
    """When each value's turn comes: sparsities from both ends to the middles between, so that a curve soon shows its course."""
    if axis.path != SPARSITY:
        return list(range(len(axis.values)))
    numbers = sorted(value for value in axis.values if isinstance(value, float))
    order: list[Any] = [numbers[place] for place in coarse_to_fine(len(numbers))]
    order += [value for value in axis.values if not isinstance(value, float)]
    return [order.index(value) for value in axis.values]


def coarse_to_fine(count: int) -> list[int]:
    """The numbers below ``count``: both ends, then the middle of each gap, again and again (0, 4, 2, 1, 3)."""
    order = [0, count - 1][:count]
    gaps = [(0, count - 1)]
    for low, high in gaps:  # grows while it is read: the halves of a gap come after all gaps of its size
        if high - low > 1:
            middle = (low + high) // 2
            order.append(middle)
            gaps += [(low, middle), (middle, high)]
    return order


def _with(base: dict[str, Any], choice: dict[str, Any]) -> RunConfig:
    """The config that ``base`` becomes. Raises ValidationError for what does not go together."""
    values = copy.deepcopy(base)
    for path, value in sorted(
        choice.items(), key=lambda item: item[0].count(".")
    ):  # components before their parameters
        *above, name = path.split(".")
        part = values
        for section in above:
            part = part[section]
        part[name] = copy.deepcopy(value)
    if isinstance(values[SPARSITY], str):
        values[PATTERN] = values.pop(SPARSITY)
    elif PATTERN in choice and SPARSITY not in choice and Pattern.coerce(values[PATTERN]).sparsity is not None:
        del values[SPARSITY]  # the base's stands for the patterns that leave it open
    return RunConfig.model_validate(values)
