"""What a run tells while it goes on; every event can be written as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter

from core.numbers import Figure


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


class ModuleEvent(BaseModel, frozen=True):
    """Where a module stands. ``keep`` [out, in], ``permutation`` [in] and ``factors`` travel in memory only."""

    module: str
    block: int
    label: str
    shape: tuple[int, int]
    target: float
    pruned: int
    """Weights the mask prunes; 0 once the module is replaced by factors."""
    dead_inputs: int = 0
    """Inputs whose weights the method zeroed besides, because they were zero for every calibration token."""
    error: Figure
    """``|X (W - W')^T| / |X W^T|``, Frobenius, on the sample of tokens."""
    seconds: float
    updated: bool
    """True where surviving weights were changed, so that mask and dense weights do not tell all."""
    report: dict[str, Figure] = {}
    """Figures that method and stages tell, by name."""
    keep: Any = Field(default=None, exclude=True, repr=False)
    permutation: Any = Field(default=None, exclude=True, repr=False)
    factors: Any = Field(default=None, exclude=True, repr=False)

    @property
    def parameters(self) -> int:
        return self.shape[0] * self.shape[1]

    @property
    def sparsity(self) -> float:
        return self.pruned / self.parameters


class ModulePruned(ModuleEvent, frozen=True):
    """One module is done."""

    event: Literal["module_pruned"] = "module_pruned"


class ModuleRefined(ModuleEvent, frozen=True):
    """A stage changed a module after it was pruned; what it says replaces what was said before."""

    event: Literal["module_refined"] = "module_refined"
    stage: str


class GroupRefined(BaseModel, frozen=True):
    """A stage changed the modules of a part of a block together."""

    event: Literal["group_refined"] = "group_refined"
    block: int
    group: str
    stage: str
    report: dict[str, Figure]


class Working(BaseModel, frozen=True):
    """What a long step is doing right now; shown, not kept."""

    event: Literal["working"] = "working"
    text: str


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


Event = (
    PhaseStarted
    | Progress
    | Working
    | BlockStarted
    | ModulePruned
    | ModuleRefined
    | GroupRefined
    | BlockFinished
    | Finished
    | Message
)

_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def event_from_json(value: dict[str, Any]) -> Event:
    return _ADAPTER.validate_python(value)
