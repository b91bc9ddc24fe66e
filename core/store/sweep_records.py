"""Sweeps as the store keeps them, and how far they are."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import Literal

from pydantic import BaseModel

from core.store.records import ACTIVE, Status
from core.sweeps.sweep import LeftOut, Sweep

State = Literal[Status, "missing"]
"""Of a point: *finished* once its run has a result, else how its latest attempt stands; *missing* where the run was deleted."""


class SweepRecord(BaseModel, frozen=True):
    """A sweep that was submitted, and what was left out of it."""

    id: str
    name: str
    sweep: Sweep
    left_out: tuple[LeftOut, ...]
    created_at: float


class PointState(BaseModel, frozen=True):
    """How a point stands, with its latest attempt's own words and place."""

    run_id: str
    turn: int
    state: State = "missing"
    attempts: int = 0
    message: str = ""
    phase: str = ""
    phase_done: int = 0
    phase_total: int = 0

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    @property
    def due(self) -> bool:
        """Whether it must be run for the sweep to be complete, and nobody is doing so."""
        return self.state != "finished" and not self.active


class SweepProgress(BaseModel, frozen=True):
    """How every point of a sweep stands, in the order of the axes."""

    points: tuple[PointState, ...]

    @cached_property
    def counts(self) -> dict[State, int]:
        """How many points there are in each state that occurs."""
        return dict(Counter(point.state for point in self.points))

    @property
    def finished(self) -> int:
        return self.counts.get("finished", 0)

    @property
    def active(self) -> bool:
        return any(point.active for point in self.points)

    @property
    def complete(self) -> bool:
        return self.finished == len(self.points)

    @property
    def running(self) -> list[PointState]:
        return [point for point in self.points if point.state == "running"]

    @property
    def due(self) -> list[PointState]:
        """What is neither finished nor under way, in the order in which it is run."""
        return sorted((point for point in self.points if point.due), key=lambda point: point.turn)

    @property
    def failures(self) -> dict[str, int]:
        """Why points failed, and how many for each reason, the commonest first."""
        return dict(Counter(point.message for point in self.points if point.state == "failed").most_common())
