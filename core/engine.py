"""The engine: one loop that prunes any decoder-only model with any method and any stages."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Int
from transformers import PreTrainedModel

from core.allocation import allocate
from core.allocation.base import Measured
from core.block_pass import BlockPass
from core.config import RunConfig
from core.events import (
    BlockFinished,
    BlockStarted,
    Event,
    Finished,
    ModuleEvent,
    Working,
)
from core.measuring import measure
from core.models.factors import FactoredLinear
from core.models.replay import capture
from core.models.structure import decoder_blocks, profile, read_weight
from core.recipe import Recipe
from core.statistics.sample import SAMPLE_TOKENS


@torch.no_grad()
def prune_model(
    model: PreTrainedModel,
    config: RunConfig,
    calibration: Int[torch.Tensor, "n seqlen"],
    measured: Measured | None = None,
) -> Generator[Event, None, None]:
    """Prunes ``model`` in place, block by block, and tells of it as it goes.

    Per block: statistics of the inputs as the pruned blocks before it produce them; every module pruned; stages refine
    the block; its output propagated. What needs no statistics runs the blocks on the first 64 tokens only, on which its
    reconstruction error is measured. Close the generator to stop at any event: what is pruned already stays so, hooks,
    forwards and the training flag are restored.

    ``measured``: what the allocation rests on, where that is known; it is measured otherwise.

    Raises InputError before any work where the pattern does not fit a module; BrokenPromise, naming the module, where a
    method, pattern or stage returns what it must not.
    """
    started = time.perf_counter()
    blocks = decoder_blocks(model)
    recipe = Recipe.of(config)
    for block in blocks:
        for name, module in block.modules.items():
            out_features, in_features = read_weight(module).shape
            recipe.pattern.check(name, (out_features, in_features))
    if measured is None:
        with _evaluation_mode(model):
            measured = yield from measure(model, config, calibration)
    sparsities = allocate(config.allocation, config.pattern, profile(model), config.sparsity, measured)
    windows = calibration if recipe.needs_text else _sample_windows(calibration)
    batch_size = 1 if config.one_by_one else config.calibration.batch_size
    counts: dict[str, tuple[int, int]] = {}  # of each module as last told of: events hold masks
    with _evaluation_mode(model):
        stream = capture(model, blocks, windows, batch_size)
        dense_stream = stream.branch() if recipe.follows_dense else None
        for block in blocks:
            block_started = time.perf_counter()
            yield BlockStarted(block=block.index, name=block.name)
            block_pass = BlockPass(model, block, stream, dense_stream, recipe, sparsities, measured, len(windows))
            for event in block_pass.run():
                if isinstance(event, ModuleEvent):
                    counts[event.module] = event.pruned, event.parameters
                yield event
            for batch in stream.propagate(block, block_pass.outputs):
                yield Working(text=f"{block.name}: passing on batch {batch} of {len(stream.hidden)}")
            yield BlockFinished(block=block.index, seconds=time.perf_counter() - block_started)
    yield Finished(
        pruned=sum(pruned for pruned, _ in counts.values()),
        parameters=sum(parameters for _, parameters in counts.values()),
        seconds=time.perf_counter() - started,
    )


def _sample_windows(calibration: torch.Tensor) -> torch.Tensor:
    """As many windows (or the beginning of one) as hold the sample's tokens."""
    seqlen = min(calibration.shape[1], SAMPLE_TOKENS)
    return calibration[: -(-SAMPLE_TOKENS // seqlen), :seqlen]


@contextmanager
def _evaluation_mode(model: PreTrainedModel) -> Iterator[None]:
    training = {name for name, module in model.named_modules() if module.training}
    model.eval()
    try:
        yield
    finally:
        for name, module in model.named_modules():
            if name in training:
                module.training = True
                if isinstance(module, FactoredLinear):  # it took a module's place meanwhile
                    module.train()
