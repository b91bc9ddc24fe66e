"""Which points of a sweep are still to be run, and running them one after another in this process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

from core.errors import Cancelled, InputError, NotFound
from core.events import Event
from core.models.dense import DenseModels
from core.models.profiles import known_profile
from core.models.sources import ModelSource
from core.profile import ModelProfile
from core.store import Attempt, Run, Store, SweepRecord
from core.sweeps.points import Point, settle

log = logging.getLogger(__name__)


def attempts_due(
    record: SweepRecord,
    store: Store,
    profile_of: Callable[[ModelSource], ModelProfile],
    points: Sequence[Point] | None = None,
) -> Iterator[Attempt]:
    """A new queued attempt at each point that is neither finished nor under way by then, one turn after the other.

    ``points``: the sweep's points where they were settled just now. Raises InputError, at the end, where a run was deleted
    and cannot be made again, since its model, a text or the program has changed.
    """
    store.sweeps.set_stopped(record.id, False)
    due = store.sweeps.progress(record.id).due
    if due and points is None:
        points, _ = settle(record.sweep, profile_of)
    known = {point.run_id: point for point in points or ()}
    lost = 0
    for point in due:
        if store.sweeps.is_finished(point.run_id):  # by another process, since the loop began
            continue
        try:
            if here := known.get(point.run_id):
                attempt, new = store.submit(here.config, here.identity)
            else:
                attempt, new = store.submit_again(point.run_id)
        except NotFound:
            lost += 1
            continue
        if new:
            yield attempt
    if lost:
        raise InputError(
            f"sweep = {record.id!r} lacks {lost} runs that were deleted and cannot be made again, since a model, a text or "
            "the program has changed; submit it as a new sweep."
        )


def run_sweep(record: SweepRecord, store: Store, begin: Callable[[Run], Callable[[Event], None]]) -> None:
    """Runs here what is neither finished nor under way elsewhere; ``begin`` is told of each run and says who hears of it.

    A run that fails is left to the store, with its reason, and the next one begins. Raises Cancelled where one was
    cancelled, which stops all; InputError as ``attempts_due`` does.
    """
    from core.worker import run_attempt

    models = DenseModels()
    try:
        for attempt in attempts_due(record, store, lambda source: known_profile(source, store)):
            report = begin(store.run(attempt.run_id))
            try:
                if run_attempt(store, attempt.id, models.load, report) is None:
                    raise Cancelled
            except Cancelled:
                raise
            except Exception:  # noqa: BLE001  of any kind: the store has its reason, the other points are not to blame
                log.info("Run %s failed; the sweep goes on", attempt.run_id)
    except (Cancelled, KeyboardInterrupt):
        store.sweeps.set_stopped(record.id, True)
        raise
