"""Runs one attempt on behalf of the store: events, heartbeat, cancellation, and a readable end whatever happens."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager

import torch

from core.config import check_identity
from core.errors import Cancelled, InputError, explain
from core.events import Event, PhaseStarted
from core.execution import Loader, Outcome, drain, execute
from core.models.sources import ModelSource
from core.store import Run, Store
from core.store.liveness import HEARTBEAT_SECONDS

log = logging.getLogger(__name__)


def run_attempt(
    store: Store,
    attempt_id: int,
    load: Loader = ModelSource.load,
    report: Callable[[Event], None] | None = None,
) -> Outcome | None:
    """Runs a queued attempt to its end; returns a run's outcome, or None where it was cancelled while it waited.

    Every end is written to the store: *finished*; *cancelled* (asked for, or interrupted at the keyboard); *failed* with
    one sentence, after which the error is raised again.
    """
    if not store.start(attempt_id):
        return None

    def tell(event: Event) -> None:
        store.record(attempt_id, event)
        if report:
            report(event)
        if store.should_stop(attempt_id):
            raise Cancelled

    try:
        with _heart(store, attempt_id), closing(_steps(store, attempt_id, load)) as steps:
            outcome = drain(steps, tell)
            if outcome is None:
                store.end(attempt_id, "finished")
            else:
                tell(PhaseStarted(phase="Saving"))
                store.finish(attempt_id, outcome.result, outcome.artifacts)
        return outcome
    except (Cancelled, KeyboardInterrupt):
        store.end(attempt_id, "cancelled")
        raise
    except Exception as error:
        log.exception("Attempt %d failed", attempt_id)
        store.end(attempt_id, "failed", _reason(error))
        raise


def _steps(store: Store, attempt_id: int, load: Loader) -> Generator[Event, None, Outcome | None]:
    work = store.work(store.attempt(attempt_id))
    if isinstance(work, Run):
        check_identity(work.config, work.identity)  # it may have waited for hours
        return execute(work.config, work.identity, store, load)
    return work.measurement.steps(store, load)


def _reason(error: Exception) -> str:
    if isinstance(error, InputError):
        return explain(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return "The memory was not enough; use fewer or shorter windows, a smaller batch size, or a smaller model."
    return f"Unexpected {type(error).__name__}: {explain(error)} The log has the details; please report it."


@contextmanager
def _heart(store: Store, attempt_id: int) -> Iterator[None]:
    """Beats in a thread of its own, since a step may take longer than the silence that counts as death."""
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(HEARTBEAT_SECONDS):
            store.heartbeat(attempt_id)

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
