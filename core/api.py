"""The library in three calls: prune a model, run a config, reopen a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from core.checks import check
from core.config import RunConfig, identify
from core.errors import Cancelled, InputError
from core.events import Event
from core.measurements import Measurement
from core.methods import Method
from core.models.loading import resolve_device
from core.models.sources import LoadedModel, ModelSource, parse_source
from core.reopening import reopen
from core.store import Run, Store
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


def measure_now(measurement: Measurement, store: Store, report: Callable[[Event], None] | None = None) -> None:
    """Measures in this process what the store does not know yet. Raises InputError, as the measurement does; Cancelled."""
    if measurement.known(store):
        return
    store.reconcile()
    attempt, new = store.submit_measurement(measurement)
    if not new:
        raise InputError(
            f"{measurement.label} is {attempt.status} already; wait for it, or cancel it in the dashboard."
        )
    run_attempt(store, attempt.id, report=report)
    if not measurement.known(store):
        raise Cancelled


def export_run(run_id: str, directory: Path, store: Store, overwrite: bool = False) -> Path:
    """Writes a finished run's pruned model as a Hugging Face folder."""
    from core.export import save

    run = store.run(run_id)
    check_target(directory, overwrite, run.config.model)
    return save(reopen(run_id, store), run, store, directory, overwrite)
