"""Where sweeps are kept: which runs are their points, and how these stand."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import Select, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased, sessionmaker

from core.errors import NotFound
from core.store.records import ACTIVE, Run
from core.store.sweep_records import PointState, SweepProgress, SweepRecord
from core.store.tables import AttemptRow, RunRow, SweepPointRow, SweepRow
from core.sweeps import LeftOut, Sweep
from core.sweeps.points import Point

_LATEST = {
    "state": AttemptRow.status,
    "attempts": AttemptRow.number,
    "message": AttemptRow.message,
    "phase": AttemptRow.phase,
    "phase_done": AttemptRow.phase_done,
    "phase_total": AttemptRow.phase_total,
}
"""What a point tells of its latest attempt, where it has one."""


class Sweeps:
    """The sweeps of a store. A sweep only names its runs: deleting one leaves the other."""

    def __init__(self, sessions: sessionmaker[Session], runs: Callable[[Collection[str]], list[Run]]) -> None:
        self._sessions = sessions
        self._runs = runs

    def submit(
        self, sweep: Sweep, points: Sequence[Point], left_out: Sequence[LeftOut], name: str | None = None
    ) -> SweepRecord:
        """Keeps the sweep; one with the same axes and points is there only once, and gets the ``name`` that is given.

        The points' own attempts are submitted one by one, by whoever runs them.
        """
        run_ids = [point.run_id for point in points]
        sweep_id = hashlib.sha256(f"{sweep.canonical()} {' '.join(run_ids)}".encode()).hexdigest()[:16]
        row = SweepRow(
            id=sweep_id,
            name=name or sweep.title,
            config=sweep.model_dump(mode="json"),
            left_out=[one.model_dump(mode="json") for one in left_out],
            created_at=time.time(),
            points=[
                SweepPointRow(position=position, turn=point.turn, run_id=run_id)
                for position, (point, run_id) in enumerate(zip(points, run_ids, strict=True))
            ],
        )
        try:
            with self._sessions.begin() as session:
                if session.get(SweepRow, sweep_id) is None:
                    session.add(row)
        except IntegrityError:  # another process submitted the same in between
            pass
        if name:
            self.rename(sweep_id, name)
        return self.get(sweep_id)

    def get(self, sweep_id: str) -> SweepRecord:
        """The sweep with this id. Raises NotFound."""
        with self._sessions() as session:
            row = session.get(SweepRow, sweep_id)
            if row is None:
                raise NotFound(f"sweep = {sweep_id!r} does not exist; it may have been deleted.")
            return _record(row)

    def all(self) -> list[SweepRecord]:
        """All sweeps, the latest first."""
        with self._sessions() as session:
            rows = session.scalars(select(SweepRow).order_by(SweepRow.created_at.desc()))
            return [_record(row) for row in rows]

    def rename(self, sweep_id: str, name: str) -> None:
        with self._sessions.begin() as session:
            session.execute(update(SweepRow).where(SweepRow.id == sweep_id).values(name=name))

    def delete(self, sweep_id: str) -> None:
        """Forgets the sweep; its runs stay, and those under way go on. Raises NotFound."""
        with self._sessions.begin() as session:
            row = session.get(SweepRow, sweep_id)
            if row is None:
                raise NotFound(f"sweep = {sweep_id!r} does not exist; it may have been deleted.")
            session.delete(row)

    def progress(self, sweep_id: str) -> SweepProgress:
        """How every point stands; no points where there is no such sweep. One query, whatever the number of points."""
        numbers = select(func.max(AttemptRow.number)).where(AttemptRow.run_id == RunRow.id).correlate(RunRow)
        finished = select(AttemptRow.id).where(AttemptRow.run_id == RunRow.id, AttemptRow.status == "finished")
        latest = (AttemptRow.run_id == RunRow.id) & (AttemptRow.number == numbers.scalar_subquery())
        chosen = (
            select(SweepPointRow.run_id, SweepPointRow.turn, finished.correlate(RunRow).exists(), *_LATEST.values())
            .outerjoin(RunRow, RunRow.id == SweepPointRow.run_id)
            .outerjoin(AttemptRow, latest)
            .where(SweepPointRow.sweep_id == sweep_id)
            .order_by(SweepPointRow.position)
        )
        with self._sessions() as session:
            rows = session.execute(chosen).all()
        return SweepProgress(points=tuple(_state(*row) for row in rows))

    def is_finished(self, run_id: str) -> bool:
        """Whether the run has a result."""
        done = select(AttemptRow.id).where(AttemptRow.run_id == run_id, AttemptRow.status == "finished")
        with self._sessions() as session:
            return bool(session.scalar(select(done.exists())))

    def runs(self, sweep_id: str) -> list[Run]:
        """The runs of the points that exist, finished or not, in the order of the axes."""
        with self._sessions() as session:
            ids = session.scalars(self._run_ids(sweep_id).order_by(SweepPointRow.position)).all()
        found = {run.id: run for run in self._runs(ids)}
        return [found[run_id] for run_id in ids if run_id in found]

    def cancel(self, sweep_id: str) -> None:
        """Asks what the sweep waits for to stop.

        What another sweep that was not stopped waits for too goes on, and so does the repetition of a finished run.
        """
        other = aliased(AttemptRow)
        finished = select(other.run_id).where(other.status == "finished")
        elsewhere = (
            select(SweepPointRow.run_id)
            .join(SweepRow, SweepRow.id == SweepPointRow.sweep_id)
            .where(SweepRow.id != sweep_id, ~SweepRow.stopped)
        )
        mine = (
            AttemptRow.run_id.in_(self._run_ids(sweep_id))
            & AttemptRow.status.in_(ACTIVE)
            & AttemptRow.run_id.not_in(finished)
            & AttemptRow.run_id.not_in(elsewhere)
        )
        waiting = mine & (AttemptRow.status == "queued")
        with self._sessions.begin() as session:  # at once, so that no other point begins when the running one ends
            session.execute(update(SweepRow).where(SweepRow.id == sweep_id).values(stopped=True))
            session.execute(update(AttemptRow).where(mine).values(cancel_requested=True))
            session.execute(update(AttemptRow).where(waiting).values(status="cancelled", finished_at=time.time()))

    def set_stopped(self, sweep_id: str, stopped: bool) -> None:
        """Says whether the sweep waits for its points; what is under way is left alone."""
        with self._sessions.begin() as session:
            session.execute(update(SweepRow).where(SweepRow.id == sweep_id).values(stopped=stopped))

    def is_stopped(self, sweep_id: str) -> bool:
        """Whether it was cancelled, and not taken up again since."""
        with self._sessions() as session:
            return bool(session.scalar(select(SweepRow.stopped).where(SweepRow.id == sweep_id)))

    def _run_ids(self, sweep_id: str) -> Select[str]:
        return select(SweepPointRow.run_id).where(SweepPointRow.sweep_id == sweep_id)


def _record(row: SweepRow) -> SweepRecord:
    return SweepRecord(
        id=row.id,
        name=row.name,
        sweep=Sweep.model_validate(row.config),
        left_out=tuple(LeftOut.model_validate(one) for one in row.left_out),
        created_at=row.created_at,
    )


def _state(run_id: str, turn: int, has_result: bool, *latest: Any) -> PointState:
    told = {name: value for name, value in zip(_LATEST, latest, strict=True) if value is not None}
    if has_result:
        told["state"] = "finished"
    return PointState(run_id=run_id, turn=turn, **told)
