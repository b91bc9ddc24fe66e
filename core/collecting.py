"""Runs a block over the calibration text and collects what its modules read."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import suppress

import torch

from core.events import Event, Working
from core.models.replay import Stream, unwrapped
from core.models.structure import Block
from core.statistics import AllRead, Collector, InputStatistics


def collect(
    block: Block, stream: Stream, needs: Iterable[str], sequences: int, outputs: list[torch.Tensor] | None = None
) -> Generator[Event, None, dict[str, InputStatistics]]:
    """The statistics ``needs`` of every module's input; the block's output is put into ``outputs`` where there is one.

    Where nobody wants the output, the block runs no further than to the input of its last module.
    """
    with Collector(block.modules, needs, sequences, stop=outputs is None) as collector:
        for batch, (args, kwargs) in enumerate(stream.arguments(block)):
            collector.next_batch()
            with suppress(AllRead):
                output = unwrapped(block.layer(*args, **kwargs))
                if outputs is not None:
                    outputs.append(output)
            yield Working(text=f"{block.name}: reading batch {batch + 1} of {len(stream.hidden)}")
    return collector.finish()
