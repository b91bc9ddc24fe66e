"""Where the time of a pruning goes, told from when its events arrive."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Literal, get_args

from core.events import BlockFinished, BlockStarted, Event, Finished, ModulePruned, Working

Part = Literal["statistics", "solve", "stages", "propagation", "rest"]
PARTS: tuple[Part, ...] = get_args(Part)


def part_of(event: Event) -> Part:
    """What was done before ``event`` came: the forward that reads inputs, a module's solve and mask, the forward that passes
    the block's output on, a stage's work, or the rest (finding the blocks, first hidden states)."""
    match event:
        case Working(text=text) if re.search(r"\breading batch\b", text):
            return "statistics"
        case Working(text=text) if re.search(r"\bpassing on batch\b", text):
            return "propagation"
        case ModulePruned():
            return "solve"
        case BlockStarted() | BlockFinished() | Finished():
            return "rest"
    return "stages"


def timed(events: Iterable[Event], clock: Callable[[], float] = perf_counter) -> tuple[float, dict[Part, float]]:
    """Runs through ``events``; the seconds in all, and by part."""
    parts = dict.fromkeys(PARTS, 0.0)
    begin = last = clock()
    before: Part | None = None
    for event in events:
        now, part = clock(), part_of(event)
        # A stage says what it is about to do; the last of that ends when the module is done.
        parts["stages" if part == "solve" and before == "stages" else part] += now - last
        last, before = now, part
    return clock() - begin, parts
