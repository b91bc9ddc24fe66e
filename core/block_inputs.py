"""What the modules of a block read in a run: the calibration text after the pruned blocks before it."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import torch

from core.collecting import collect
from core.config import pinned_texts
from core.errors import InputError
from core.events import Event, PhaseStarted, Progress
from core.execution import Loader, calibration_tokens
from core.measurements.scores import inputs_file
from core.methods import Method
from core.models.replay import capture
from core.models.sources import ModelSource
from core.models.structure import decoder_blocks, read_weight
from core.reopening import reopening
from core.statistics import InputStatistics
from core.store import Run, Store


@dataclass(frozen=True)
class BlockInputs:
    """Dense weights [out, in] and input statistics of a block's modules, by full name, in order."""

    weights: Mapping[str, torch.Tensor]
    statistics: Mapping[str, InputStatistics]


def statistics_of_methods() -> frozenset[str]:
    """What any registered method reads, and the norms, which explain every score: one pass serves all of them."""
    return frozenset({"norm"}).union(*(method.needs for method in Method.registry.classes()))


def known_inputs(run: Run, block: int, store: Store) -> BlockInputs | None:
    """What was collected before; None where it was not, or a method that was registered since reads more."""
    kept = store.tensors(run.id, inputs_file(block))
    if kept is None or not statistics_of_methods() <= {*kept.facts["statistics"]}:
        return None
    sources: dict[str, str] = kept.facts["sources"]
    shared = {
        source: InputStatistics({name: kept[f"{name} of {source}"] for name in kept.facts["statistics"]})
        for source in set(sources.values())
    }
    return BlockInputs(
        {module: kept[f"weight of {module}"] for module in sources},
        {module: shared[source] for module, source in sources.items()},
    )


@torch.no_grad()
def collected_inputs(run: Run, block: int, store: Store, load: Loader) -> Generator[Event, None, BlockInputs]:
    """Runs the run's calibration text through its pruned blocks up to ``block``, which is still dense, as the run did.

    Raises InputError where the model or the text is not what it was.
    """
    config = pinned_texts(run.config, run.identity)
    source: ModelSource = config.model.pinned(run.identity.model_revision)
    yield PhaseStarted(phase="Reading the text")
    if config.calibration.corpus.fingerprint("calibration") != run.identity.calibration_fingerprint:
        raise InputError(f"run = {run.id!r} was calibrated on a text that has changed since; run its config again.")
    windows = calibration_tokens(config, source)
    yield PhaseStarted(phase="Loading the model")
    model = (yield from reopening(run.id, store, load, blocks=block)).model
    blocks = decoder_blocks(model)
    stream = capture(model, blocks, windows, 1 if config.one_by_one else config.calibration.batch_size)
    yield PhaseStarted(phase="Passing the text through the blocks", total=block + 1)
    for earlier in blocks[:block]:
        for _ in stream.propagate(earlier):
            yield Progress(done=earlier.index)
    yield Progress(done=block)
    statistics = yield from collect(blocks[block], stream, statistics_of_methods(), len(windows))
    return BlockInputs(
        {name: read_weight(module).cpu().contiguous() for name, module in blocks[block].modules.items()}, statistics
    )


def keep_inputs(run: Run, block: int, found: BlockInputs, store: Store) -> None:
    """Keeps what was collected, statistics of a shared input once, for every method and module of the block."""
    first: dict[int, str] = {}
    sources = {module: first.setdefault(id(shared), module) for module, shared in found.statistics.items()}
    names = sorted(statistics_of_methods())
    tensors = {f"weight of {module}": weight for module, weight in found.weights.items()}
    for source in set(sources.values()):
        tensors |= {f"{name} of {source}": found.statistics[source][name].cpu().contiguous() for name in names}
    store.keep_tensors(run.id, inputs_file(block), tensors, {"statistics": names, "sources": sources})
