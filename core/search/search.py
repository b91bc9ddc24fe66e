"""A search for an allocation, written down: a config, and how its blocks' sparsities are varied."""

from __future__ import annotations

import hashlib
import json
from typing import Self

from pydantic import BaseModel, Field, model_validator

from core.allocation import Uniform
from core.allocation.balance import TOLERANCE
from core.allocation.manual import Manual
from core.config import Identity, RunConfig
from core.errors import InputError
from core.search.mutation import Bounds, Sparsities


class Search(BaseModel, frozen=True, extra="forbid"):
    """Evolution over the sparsity of each block, at the mean that ``base`` asks for; the lowest perplexity wins.

    It starts from the uniform allocation, and from ``base``'s own where that is another. Each further trial is the best so
    far with some sparsity moved from one block to another, one to three times; the better of it and its offspring goes on,
    an elitist (1 + offspring) strategy.

    Sieberling et al., "EvoPress: Accurate Dynamic Model Compression via Evolutionary Search" (arXiv 2410.14649), section 3.
    Deviations: a trial is a whole run (the authors stitch blocks that were pruned beforehand together, and compare offspring
    on growing parts of a text); shifts are of any size up to ``step`` rather than whole levels.
    """

    base: RunConfig = Field(default_factory=RunConfig)
    offspring: int = Field(
        1,
        ge=1,
        le=64,
        title="Offspring",
        description="Trials made from the same parent; with 1 every trial learns from all before it.",
    )
    step: float = Field(
        0.125, gt=0, lt=1, title="Step", description="The most by which one shift changes the sparsity of a block."
    )
    lowest: float = Field(0.0, ge=0, lt=1, title="Lowest", description="No block loses less.")
    highest: float = Field(0.95, gt=0, lt=1, title="Highest", description="No block loses more.")
    seed: int = Field(0, ge=0, le=2**31 - 1, title="Seed", description="Decides which shifts are tried.")

    @model_validator(mode="after")
    def _can_move(self) -> Self:
        if self.base.pattern.sparsity is not None:
            raise InputError(
                f"pattern = {self.base.pattern.label} prunes every block alike, so there is nothing to search; choose an "
                f"unstructured pattern, or N:{self.base.pattern.span} with an N for every block."
            )
        low, high, unit = self.bounds
        if not low < self.base.sparsity < high:
            raise InputError(
                f"sparsity = {self.base.sparsity:g} is not between lowest = {low:g} and highest = {high:g}; "
                "set these further apart."
            )
        if unit and self.step < unit - TOLERANCE:
            raise InputError(
                f"step = {self.step:g} is less than the smallest change that pattern = {self.base.pattern.label} knows; "
                f"set it to {unit:g} or more."
            )
        return self

    @property
    def bounds(self) -> Bounds:
        """Between what a block's sparsity lies; with whole numbers of every M, in steps of 1/M."""
        m = self.base.pattern.mixes
        if m is None:
            return Bounds(self.lowest, self.highest)
        return Bounds(max(self.lowest, 1 / m), min(self.highest, 1 - 1 / m), 1 / m)

    def trial(self, sparsities: Sparsities) -> RunConfig:
        """The run that tries these sparsities by block; the uniform one is the run that anybody would make of it."""
        if all(abs(value - self.base.sparsity) <= TOLERANCE for value in sparsities.values()):
            return self.base.model_copy(update={"allocation": Uniform()})
        by_hand = Manual(values={str(block): value for block, value in sparsities.items()})
        return self.base.model_copy(update={"allocation": by_hand})

    def study(self, identity: Identity) -> str:
        """The id of the search: of everything that decides which trials are made, however many."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True) + identity.model_dump_json()
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """A short name for lists."""
        return f"{self.base.title}, step {self.step:g}, seed {self.seed}"
