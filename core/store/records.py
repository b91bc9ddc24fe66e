"""Runs and attempts as the rest of the program sees them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from core.config import Identity, RunConfig
from core.evaluation.result import CorpusPerplexity, Perplexity
from core.measurements.base import Measurement
from core.numbers import Figure

Status = Literal["queued", "running", "finished", "failed", "cancelled", "interrupted"]
ACTIVE: frozenset[Status] = frozenset({"queued", "running"})


class RunResult(BaseModel, frozen=True):
    """What a finished run found out, with what it was measured on."""

    dense_perplexity: Perplexity
    perplexity: Perplexity
    also: tuple[CorpusPerplexity, ...] = ()
    """On the further corpora."""
    target_sparsity: float
    pruned: int
    """Weights the masks prune."""
    parameters: int
    """Weights of all prunable modules."""
    dense_bytes: int
    """Of the prunable modules, in the model's data type."""
    bitmask_bytes: int
    """The same with only the survivors stored, and one bit a weight for the mask."""
    parameters_after: int | None = None
    """Weights that prunable modules have in the end; fewer than ``parameters`` where some became factors."""
    packed_bytes: int | None = None
    """Where survivors were rounded to a grid of few bits: with these bits, scales and zero points, and the mask."""
    figures: dict[str, Figure] = {}
    """What the stages did to the model as a whole, by name."""
    evaluated_on: str
    calibrated_on: str
    prune_seconds: float
    seconds: float
    warnings: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    """Versions, device and data type it ran with."""

    @property
    def sparsity(self) -> float:
        return self.pruned / self.parameters


class Attempt(BaseModel, frozen=True):
    """One time a run was tried. Times are seconds since 1970, UTC."""

    id: int
    run_id: str
    number: int
    status: Status
    message: str
    submitted_at: float
    started_at: float | None
    finished_at: float | None
    phase: str
    phase_done: int
    phase_total: int
    cancel_requested: bool

    @property
    def active(self) -> bool:
        return self.status in ACTIVE


class MeasurementRecord(BaseModel, frozen=True):
    """A measurement that was asked for, and its latest attempt."""

    id: str
    name: str
    measurement: Measurement
    attempt: Attempt


class Run(BaseModel, frozen=True):
    """A config that was run, what it stood for, and its latest attempt and result."""

    id: str
    name: str
    config: RunConfig
    identity: Identity
    created_at: float
    result: RunResult | None
    weights_bytes: int
    attempt: Attempt
    finished_attempt: int | None = None
    """The attempt that made the result and what is on disk; later ones may be under way, or have failed."""

    @property
    def status(self) -> Status:
        return self.attempt.status


class RunRecord(BaseModel, frozen=True, extra="forbid"):
    """A finished run as it is taken elsewhere, beside its config and artifacts. Times are seconds since 1970, UTC."""

    id: str = Field(pattern=r"^[0-9a-f]{16}$")
    name: str = Field(max_length=1000)
    identity: Identity
    created_at: float = Field(ge=0, allow_inf_nan=False)
    submitted_at: float = Field(ge=0, allow_inf_nan=False)
    started_at: float | None = Field(ge=0, allow_inf_nan=False)
    finished_at: float | None = Field(ge=0, allow_inf_nan=False)
    result: RunResult
