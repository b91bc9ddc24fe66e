"""What a layer-wise allocation rests on, measured of the dense model block by block."""

from __future__ import annotations

import statistics
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Int
from transformers import PreTrainedModel

from core.allocation.base import Probe
from core.collecting import collect
from core.config import RunConfig
from core.errors import InputError
from core.evaluation.perplexity import losses_at, token_losses, window_losses
from core.events import Event, Message, Progress, Working
from core.models.replay import Stream, capture
from core.models.structure import Block, decoder_blocks, read_weight, write_weight
from core.statistics import InputStatistics


@torch.no_grad()
def measure(
    model: PreTrainedModel, config: RunConfig, calibration: Int[torch.Tensor, "n seqlen"]
) -> Generator[Event, None, dict[str, float | None]]:
    """The quantity ``config.allocation`` rests on, by full module name; empty where it needs none.

    The model is dense and stays as it was, also where the generator is closed early. Raises InputError where a trial
    pruning fails.
    """
    allocation = config.allocation
    measured: dict[str, float | None] = {}
    if allocation.measures is None:
        return measured
    blocks = decoder_blocks(model)
    text = _Text(model, blocks, config, calibration) if allocation.reads_text else None
    for block in blocks:
        outputs: list[torch.Tensor] = []
        known = (yield from text.read(block, outputs)) if text else {}
        probe = BlockProbe(block, known, text, outputs)
        steps = allocation.measure(probe)
        while True:
            try:
                yield Working(text=f"{block.name}: {next(steps)}")
            except StopIteration as done:
                measured |= done.value
                break
        for name in block.modules:
            if measured[name] is None:
                yield Message(text=f"{name} has no {allocation.measures} to measure; it gets the others' mean.")
        if text:
            text.stream.hidden = outputs
        yield Progress(done=block.index + 1)
    return measured


@dataclass
class _Text:
    """The calibration text on its way through the dense model."""

    model: PreTrainedModel
    blocks: list[Block]
    config: RunConfig
    windows: torch.Tensor
    stream: Stream = field(init=False)

    def __post_init__(self) -> None:
        self.stream = capture(self.model, self.blocks, self.windows, self.batch_size)

    @property
    def batch_size(self) -> int:
        return self.config.calibration.batch_size

    def read(self, block: Block, outputs: list[torch.Tensor]) -> Generator[Event, None, dict[str, InputStatistics]]:
        allocation = self.config.allocation
        needs = allocation.needs | (self.config.method.needs if allocation.tries else frozenset())
        return (yield from collect(block, self.stream, needs, len(self.windows), outputs))

    @cached_property
    def loss(self) -> float:
        """The dense model's mean loss."""
        batches = token_losses(self.model, self.windows, self.batch_size)
        return statistics.fmean(loss for batch in batches for loss in window_losses(batch))


class BlockProbe(Probe):
    """A block of a model that is in memory."""

    def __init__(
        self,
        block: Block,
        statistics: Mapping[str, InputStatistics],
        text: _Text | None,
        outputs: list[torch.Tensor],
    ) -> None:
        self.weights = {name: read_weight(module).float() for name, module in block.modules.items()}
        self.statistics = statistics
        self.block, self._text, self._outputs = block, text, outputs

    def output_error(self) -> Generator[str, None, float]:
        text = self._known_text()
        lost = whole = 0.0
        with self._put_back():
            yield from self._prune(text.config)
            for dense, pruned in zip(self._outputs, text.stream.forward(self.block), strict=True):
                lost += float((pruned - dense).float().square().sum())
                whole += float(dense.float().square().sum())
                yield "its output when it is pruned"
        return (lost / whole) ** 0.5 if whole else 0.0

    def rise_in_loss(self) -> Generator[str, None, float]:
        text = self._known_text()
        alone = text.stream.branch()
        with self._put_back():
            yield from self._prune(text.config)
            for _ in alone.propagate(self.block):
                yield "its output when it is pruned"
        for later in text.blocks[self.block.index + 1 :]:
            for _ in alone.propagate(later):
                yield f"passing it through {later.name}"
        losses: list[float] = []
        batches = text.windows.split(text.batch_size)
        for end in alone.ends(text.model, text.blocks, batches):
            losses += window_losses(losses_at(end))
            yield "the model's loss"
        return statistics.fmean(losses) - text.loss

    def _known_text(self) -> _Text:
        if self._text is None:
            raise InputError("An allocation that tries blocks out must set reads_text = True.")
        return self._text

    def _prune(self, config: RunConfig) -> Iterator[str]:
        pattern = config.pattern.resolve(config.method.group).at(config.sparsity)
        sparsity = config.sparsity if pattern.sparsity is None else pattern.sparsity
        for name, module in self.block.modules.items():
            yield f"pruning {name.removeprefix(self.block.name + '.')} to see what it costs"
            weight = read_weight(module).float().clone()
            write_weight(module, config.method.prune(weight, self.statistics[name], pattern, sparsity).weight)

    @contextmanager
    def _put_back(self) -> Iterator[None]:
        """Puts the block's own weights back, whatever happens."""
        own = {name: read_weight(module).clone() for name, module in self.block.modules.items()}
        try:
            yield
        finally:
            for name, module in self.block.modules.items():
                write_weight(module, own[name])
