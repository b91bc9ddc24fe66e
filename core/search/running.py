"""Making the trials of a search, one after another, in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from filelock import FileLock, Timeout

from core.allocation import Uniform, allocate
from core.api import measure_now
from core.checks import check
from core.config import Identity, RunConfig, identify
from core.errors import Cancelled, InputError
from core.events import Event
from core.measured import measured_values
from core.measurements.allocation import AllocationBasis
from core.models.dense import DenseModels
from core.models.loading import resolve_device
from core.models.profiles import known_profile
from core.profile import ModelProfile
from core.search.mutation import Sparsities, block_sizes, by_block, within
from core.search.records import SearchRecord, Trial
from core.search.search import Search
from core.search.studies import open_studies
from core.store import Store
from core.worker import run_attempt

Report = Callable[[Event], None]


class TrialBegun(NamedTuple):
    """A trial is about to be run, or looked up where its run has finished before."""

    record: SearchRecord
    trial: Trial


class TrialEnded(NamedTuple):
    """A trial has its perplexity, or failed; ``known``: its run had finished before."""

    record: SearchRecord
    trial: Trial
    known: bool


def run_search(
    search: Search, store: Store, trials: int, report: Report | None = None
) -> Generator[TrialBegun | TrialEnded, None, SearchRecord]:
    """Makes trials until the search has ``trials`` that are over, and tells of each; ``report`` hears of the runs' events.

    A search that the store knows goes on. Close the generator between trials to stop; a trial that is stopped half way is
    taken up again the next time. Raises InputError for what the user can mend, and as a trial's run does when it fails (the
    search then goes on without it the next time); Cancelled where a run was cancelled.
    """
    resolve_device(search.base.model.device)
    store.reconcile()
    profile = known_profile(search.base.model, store)
    sizes = block_sizes(profile)
    check(search.base, profile)
    identity = identify(search.base)
    starts = _starts(search, profile, store, report)
    models = DenseModels()
    with _alone(store, search.study(identity)), open_studies(store.home) as studies:
        study = studies.study(search, identity, sizes)
        study.start_from(starts)
        while study.record.ended < trials:
            trial = study.ask()
            config = search.trial(trial.sparsities)
            settled = identity.model_copy(update={"versions": config.versions})
            run_id = settled.run_id(config)
            trial = study.made(trial.number, run_id)
            yield TrialBegun(study.record, trial)
            known = store.sweeps.is_finished(run_id)
            if not known:
                try:
                    _run(config, settled, store, models, report)
                except (Cancelled, KeyboardInterrupt):
                    raise
                except Exception:
                    study.tell(trial.number, None)
                    raise
            result = store.run(run_id).result
            trial = study.tell(trial.number, result.perplexity.value if result else None)
            yield TrialEnded(study.record, trial, known)
        return study.record


def _run(config: RunConfig, identity: Identity, store: Store, models: DenseModels, report: Report | None) -> None:
    """Runs a trial here. Raises Cancelled, also where somebody else is at it; whatever the run raises."""
    attempt, new = store.submit(config, identity)
    if not new:
        raise Cancelled(f"run = {attempt.run_id} is {attempt.status} elsewhere.")
    if run_attempt(store, attempt.id, models.load, report) is None:
        raise Cancelled
    store.delete_weights(attempt.run_id)  # dozens of trials would push the weights of other runs out of the budget


def _starts(search: Search, profile: ModelProfile, store: Store, report: Report | None) -> dict[str, Sparsities]:
    """The uniform allocation, and the base's own, by title; what that rests on is measured where it is not known."""
    base, sizes = search.base, block_sizes(profile)
    found: dict[str, Sparsities] = {}
    for allocation in (Uniform(), base.allocation):
        config = base.model_copy(update={"allocation": allocation})
        basis = AllocationBasis.of(config)
        measure_now(basis, store, report)
        measured = measured_values(basis.config, basis.identity, store)
        sparsities = by_block(allocate(allocation, base.pattern, profile, base.sparsity, measured), profile)
        found[allocation.described] = within(sparsities, sizes, base.sparsity, search.bounds)
    return found


@contextmanager
def _alone(store: Store, search_id: str) -> Iterator[None]:
    """Raises InputError where another process makes trials of this search."""
    lock = FileLock(store.home / f"search-{search_id}.lock")
    try:
        with lock.acquire(timeout=0):
            yield
    except Timeout:
        raise InputError(
            f"search = {search_id} is under way in another process; wait for it, or stop it there."
        ) from None
