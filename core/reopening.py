"""A finished run's pruned model, made again from what the run left."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any

from core.config import pinned_texts
from core.engine import prune_model
from core.errors import InputError
from core.events import BlockStarted, Event
from core.execution import Loader, calibration_tokens, drain, known_or_measured
from core.models.factors import replace
from core.models.sources import LoadedModel, ModelSource
from core.models.structure import decoder_blocks, read_weight, write_weight
from core.store import Store
from core.store.artifacts import left_key, right_key


def reopen(run_id: str, store: Store) -> LoadedModel:
    """The pruned model of a finished run: dense weights, masks and kept updates; pruned again where these were evicted.

    Raises NotFound where there is no such run, InputError where it never finished or its model has changed since.
    """
    return drain(reopening(run_id, store), lambda event: None)


def reopening(
    run_id: str, store: Store, load: Loader = ModelSource.load, blocks: int | None = None
) -> Generator[Event, None, LoadedModel]:
    """The same, telling what it does. ``blocks``: only so many, from the first on; those after them stay dense."""
    run = store.run(run_id)
    if run.result is None:
        raise InputError(f"run = {run_id!r} has not finished, so there is no pruned model; repeat the run.")
    source: ModelSource = run.config.model.pinned(run.identity.model_revision)
    if source.revision_key() != run.identity.model_revision:
        raise InputError(f"run = {run_id!r} was made from a model that has changed since; run its config again.")
    loaded = load(source)
    modules, kept = store.modules(run_id), store.survivors(run_id)
    if blocks is not None:
        modules = modules[modules.block < blocks]
    if kept is None and modules.updated.any():
        config = pinned_texts(run.config, run.identity)
        if config.calibration.corpus.fingerprint("calibration") != run.identity.calibration_fingerprint:
            raise InputError(f"run = {run_id!r} was calibrated on a text that has changed since; run its config again.")
        calibration = calibration_tokens(config, source)
        measured = yield from known_or_measured(run.config, run.identity, store, loaded.model, calibration)
        with closing(prune_model(loaded.model, run.config, calibration, measured)) as events:
            for event in events:
                if isinstance(event, BlockStarted) and event.block == blocks:
                    break
                yield event
        return loaded
    if len(modules):
        _restore(loaded.model, store.masks(run_id), kept or {}, blocks)
    return loaded


def _restore(model: Any, masks: Mapping[str, Any], kept: Mapping[str, Any], blocks: int | None) -> None:
    """Makes the first ``blocks`` (None: all) of the dense ``model`` those of the pruned one that left these masks and weights."""
    for block in decoder_blocks(model)[:blocks]:
        for name, module in block.modules.items():
            if left_key(name) in kept:
                replace(model, name, kept[left_key(name)], kept[right_key(name)])
                continue
            keep = masks[name].to(read_weight(module).device)
            weight = read_weight(module) * keep
            if name in kept:
                weight[keep] = kept[name].to(weight)
            write_weight(module, weight)
