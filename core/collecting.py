"""Runs a block over the calibration text and collects what its modules read."""

from __future__ import annotations

from collections.abc import Generator, Iterable

import torch

from core.events import Event, Working
from core.models.replay import Stream
from core.models.structure import Block
from core.statistics import Collector, InputStatistics


def collect(
    block: Block, stream: Stream, needs: Iterable[str], sequences: int, outputs: list[torch.Tensor] | None = None
) -> Generator[Event, None, dict[str, InputStatistics]]:
    """The statistics ``needs`` of every module's input; the block's output is put into ``outputs`` where there is one."""
    with Collector(block.modules, needs, sequences) as collector:
        forwards = stream.forward(block)
        for batch in range(len(stream.hidden)):
            collector.next_batch()
            output = next(forwards)
            if outputs is not None:
                outputs.append(output)
            yield Working(text=f"{block.name}: reading batch {batch + 1} of {len(stream.hidden)}")
    return collector.finish()
