"""What a run tells while it goes on; every event can be written as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from core.numbers import Figure

ErrorBasis = Literal["gram", "sample"]
"""What a reconstruction error was measured on: all calibration tokens through the Gram matrix, or the first 256 tokens."""


class PhaseStarted(BaseModel, frozen=True):
    """A part of the run begins; ``total`` steps lie ahead (0: not known)."""

    event: Literal["phase"] = "phase"
    phase: str
    total: int = 0


class Progress(BaseModel, frozen=True):
    """``done`` of the phase's steps are behind."""

    event: Literal["progress"] = "progress"
    done: int


class BlockStarted(BaseModel, frozen=True):
    event: Literal["block_started"] = "block_started"
    block: int
    name: str


class ModulePruned(BaseModel, frozen=True):
    """One module is done. ``keep``, a bool tensor [out, in], travels with the event in memory only."""

    event: Literal["module_pruned"] = "module_pruned"
    module: str
    block: int
    label: str
    shape: tuple[int, int]
    target: float
    pruned: int
    """Weights the mask prunes."""
    dead_inputs: int = 0
    """Inputs whose weights the method zeroed besides, because they were zero for every calibration token."""
    error: Figure
    """``|X (W - W')^T| / |X W^T|``, Frobenius."""
    error_basis: ErrorBasis
    seconds: float
    updated: bool
    """True where surviving weights were changed, so that mask and dense weights do not tell all."""
    keep: Any = Field(default=None, exclude=True, repr=False)

    @property
    def parameters(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def sparsity(self) -> float:
        return self.pruned / self.parameters


class BlockFinished(BaseModel, frozen=True):
    event: Literal["block_finished"] = "block_finished"
    block: int
    seconds: float


class Finished(BaseModel, frozen=True):
    """The pass is over; ``sparsity`` is exact, from the masks."""

    event: Literal["finished"] = "finished"
    pruned: int
    parameters: int
    seconds: float

    @property
    def sparsity(self) -> float:
        return self.pruned / self.parameters


class Message(BaseModel, frozen=True):
    """A line for the log that a person reads."""

    event: Literal["message"] = "message"
    text: str


Event = PhaseStarted | Progress | BlockStarted | ModulePruned | BlockFinished | Finished | Message

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def event_from_json(value: dict[str, Any]) -> Event:
    return _ADAPTER.validate_python(value)
