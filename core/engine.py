"""The engine: one loop that prunes any decoder-only model with any method."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from core.config import RunConfig
from core.errors import InputError
from core.events import BlockFinished, BlockStarted, ErrorBasis, Event, Finished, ModulePruned
from core.methods import Method
from core.models.replay import Stream, capture
from core.models.structure import Block, decoder_blocks, profile, read_weight, write_weight
from core.patterns import Pattern
from core.statistics import Collector, InputStatistics
from core.statistics.sample import SAMPLE_TOKENS


@torch.no_grad()
def prune_model(
    model: PreTrainedModel, config: RunConfig, calibration: Int[torch.Tensor, "n seqlen"]
) -> Iterator[Event]:
    """Prunes ``model`` in place, block by block, and tells of it as it goes.

    Per block: statistics of the inputs as the pruned blocks before it produce them; every module pruned; the pruned
    block's output propagated. A method that needs no statistics runs the blocks on the first 256 tokens only, on which
    its reconstruction error is measured. Close the generator to stop between two modules: blocks already pruned stay so,
    hooks, forwards and the training flag are restored.

    Raises InputError before any work where the pattern does not fit a module.
    """
    started = time.perf_counter()
    blocks = decoder_blocks(model)
    pattern = config.pattern.resolve(config.method.group)
    for block in blocks:
        for name, module in block.modules.items():
            out_features, in_features = read_weight(module).shape
            pattern.check(name, (out_features, in_features))
    sparsities = config.allocation.sparsities(profile(model), config.sparsity)
    windows = calibration if config.method.needs else _sample_windows(calibration)
    pruned = parameters = 0
    with _evaluation_mode(model):
        stream = capture(model, blocks, windows, config.calibration.batch_size)
        for block in blocks:
            block_started = time.perf_counter()
            yield BlockStarted(block=block.index, name=block.name)
            for event in _prune_block(block, stream, config.method, pattern, sparsities, len(windows)):
                pruned, parameters = pruned + event.pruned, parameters + event.parameters
                yield event
            stream.propagate(block)
            yield BlockFinished(block=block.index, seconds=time.perf_counter() - block_started)
    yield Finished(pruned=pruned, parameters=parameters, seconds=time.perf_counter() - started)


def _prune_block(
    block: Block,
    stream: Stream,
    method: Method,
    pattern: Pattern,
    sparsities: Mapping[str, float],
    sequences: int,
) -> Iterator[ModulePruned]:
    started = time.perf_counter()
    inputs = _collect(block, stream, method.needs | {"sample"} - _gram_replaces_sample(method), sequences)
    share = (time.perf_counter() - started) / len(block.modules)
    for name, module in block.modules.items():
        started = time.perf_counter()
        stats = inputs[name]
        stored = read_weight(module)
        dense = stored.float()
        try:
            result = method.prune(dense, stats, pattern, sparsities[name])
        except InputError as problem:
            raise InputError(f"{name}: {problem}") from problem
        weight = result.weight.to(stored.dtype)
        error, basis = reconstruction_error(dense, weight.float(), stats)
        updated = not torch.equal(weight, stored * result.keep)
        write_weight(module, weight)
        yield ModulePruned(
            module=name,
            block=block.index,
            label=name.removeprefix(f"{block.name}."),
            shape=(weight.shape[0], weight.shape[1]),
            target=sparsities[name],
            pruned=int((~result.keep).sum()),
            dead_inputs=0 if result.dead_inputs is None else int(result.dead_inputs.sum()),
            error=error,
            error_basis=basis,
            seconds=time.perf_counter() - started + share,
            updated=updated,
            keep=result.keep,
        )


def _gram_replaces_sample(method: Method) -> frozenset[str]:
    return frozenset({"sample"}) if "gram" in method.needs else frozenset()


def _collect(block: Block, stream: Stream, needs: Iterable[str], sequences: int) -> dict[str, InputStatistics]:
    with Collector(block.modules, needs, sequences) as collector:
        outputs = stream.forward(block)
        while True:
            collector.next_batch()
            if next(outputs, None) is None:
                break
    return collector.finish()


def reconstruction_error(
    dense: Float[torch.Tensor, "out in"],
    pruned: Float[torch.Tensor, "out in"],
    stats: InputStatistics,
) -> tuple[float, ErrorBasis]:
    """``|X (W - W')^T| / |X W^T|`` (Frobenius), from the Gram matrix where there is one, else on the sample of tokens."""
    change = dense - pruned
    if "gram" in stats:
        gram = stats["gram"]
        lost = ((change @ gram) * change).sum().clamp(min=0).sqrt()
        whole = ((dense @ gram) * dense).sum().clamp(min=0).sqrt()
        basis: ErrorBasis = "gram"
    else:
        sample = stats["sample"]
        lost, whole = (sample @ change.T).norm(), (sample @ dense.T).norm()
        basis = "sample"
    return (float(lost / whole) if whole > 0 else 0.0), basis


def _sample_windows(calibration: torch.Tensor) -> torch.Tensor:
    """As many windows (or the beginning of one) as hold the sample's tokens."""
    seqlen = min(calibration.shape[1], SAMPLE_TOKENS)
    return calibration[: -(-SAMPLE_TOKENS // seqlen), :seqlen]


@contextmanager
def _evaluation_mode(model: PreTrainedModel) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
