"""The library in three calls: prune a model, run a config, reopen a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from core.checks import check
from core.config import RunConfig, identify
from core.engine import prune_model
from core.errors import Cancelled, InputError
from core.events import Event
from core.execution import calibration_tokens
from core.methods import Method
from core.models.factors import replace
from core.models.loading import resolve_device
from core.models.sources import LoadedModel, ModelSource, parse_source
from core.models.structure import decoder_blocks, read_weight, write_weight
from core.store import Run, Store
from core.store.artifacts import left_key, right_key
from core.target import check_target
from core.worker import run_attempt


class PrunedModel(NamedTuple):
    """A pruned model in memory and the run in the store that tells how it came to be."""

    model: Any
    run: Run
    tokenizer: Any


def prune(
    model: str | ModelSource = "embedded",
    *,
    method: str | Method = "wanda",
    sparsity: float | str | None = None,
    store: Store | None = None,
    report: Callable[[Event], None] | None = None,
    **parts: Any,
) -> PrunedModel:
    """Prunes ``model`` (``"embedded"``, a folder or a hub id), measures it, and keeps the run in the store.

    ``sparsity`` is a fraction or a pattern such as ``"2:4"``; ``parts`` are further fields of RunConfig (pattern,
    allocation, calibration, evaluation). Raises InputError, one sentence, for what cannot be done.
    """
    config = make_config(model, method=method, sparsity=sparsity, **parts)
    store = store or Store.open()
    loaded, run = run_config(config, store, report)
    return PrunedModel(loaded.model, run, loaded.tokenizer)


def make_config(
    model: str | ModelSource = "embedded",
    *,
    method: str | Method = "wanda",
    sparsity: float | str | None = None,
    **parts: Any,
) -> RunConfig:
    """The RunConfig that these short forms mean."""
    if isinstance(sparsity, str):
        if ":" in sparsity:
            if parts.get("pattern") is not None:
                raise InputError(f"sparsity = {sparsity!r} and pattern are both given; leave one of them out.")
            parts["pattern"], sparsity = sparsity, None
        else:
            sparsity = _fraction(sparsity)
    source = parse_source(model) if isinstance(model, str) else model
    given = {key: value for key, value in parts.items() if value is not None}
    return RunConfig.model_validate({"model": source, "method": method, "sparsity": sparsity, **given})


def _fraction(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"sparsity = {text!r} is neither a fraction such as 0.5 nor a pattern such as 2:4.") from None


def run_config(
    config: RunConfig, store: Store, report: Callable[[Event], None] | None = None
) -> tuple[LoadedModel, Run]:
    """Runs ``config`` in this process as a new attempt; returns the pruned model and the finished run.

    Raises InputError for what the user can mend, and where the same run is under way elsewhere; Cancelled.
    """
    store.reconcile()
    resolve_device(config.model.device)
    identity = identify(config)
    source = config.model.pinned(identity.model_revision)
    check(config, source.profile())
    source.load_tokenizer()
    attempt, new = store.submit(config, identity)
    if not new:
        raise InputError(
            f"run = {attempt.run_id} is {attempt.status} already; wait for it, or cancel it on the Runs page."
        )
    outcome = run_attempt(store, attempt.id, report=report)
    if outcome is None:
        raise Cancelled
    return outcome.loaded, store.run(attempt.run_id)


def reopen(run_id: str, store: Store) -> LoadedModel:
    """The pruned model of a finished run: dense weights, masks and kept updates; pruned again where these were evicted.

    Raises NotFound where there is no such run, InputError where it never finished or its model has changed since.
    """
    run = store.run(run_id)
    if run.result is None:
        raise InputError(f"run = {run_id!r} has not finished, so there is no pruned model; repeat the run.")
    source: ModelSource = run.config.model.pinned(run.identity.model_revision)
    if source.revision_key() != run.identity.model_revision:
        raise InputError(f"run = {run_id!r} was made from a model that has changed since; run its config again.")
    loaded = source.load()
    modules, kept = store.modules(run_id), store.survivors(run_id)
    if kept is None and modules.updated.any():
        if run.config.calibration.corpus.fingerprint() != run.identity.calibration_fingerprint:
            raise InputError(f"run = {run_id!r} was calibrated on a text that has changed since; run its config again.")
        for _ in prune_model(loaded.model, run.config, calibration_tokens(run.config, source)):
            pass
        return loaded
    _restore(loaded.model, store.masks(run_id), kept or {})
    return loaded


def _restore(model: Any, masks: Mapping[str, Any], kept: Mapping[str, Any]) -> None:
    """Makes the dense ``model`` the pruned one that left these masks and weights."""
    for block in decoder_blocks(model):
        for name, module in block.modules.items():
            if left_key(name) in kept:
                replace(model, name, kept[left_key(name)], kept[right_key(name)])
                continue
            keep = masks[name].to(read_weight(module).device)
            weight = read_weight(module) * keep
            if name in kept:
                weight[keep] = kept[name].to(weight)
            write_weight(module, weight)


def export_run(run_id: str, directory: Path, store: Store, overwrite: bool = False) -> Path:
    """Writes a finished run's pruned model as a Hugging Face folder."""
    from core.export import save

    run = store.run(run_id)
    check_target(directory, overwrite, run.config.model)
    return save(reopen(run_id, store), run, store, directory, overwrite)
