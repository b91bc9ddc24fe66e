"""Finished runs that come from another store, and what is written down of one that goes there."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload, sessionmaker

from core.config import RunConfig
from core.disk import writing
from core.errors import InputError
from core.store import artifacts, liveness
from core.store.records import ACTIVE, Attempt, Run, RunRecord
from core.store.tables import RUN, AttemptRow, RunRow

IMPORTED = "Imported."
"""The message of an attempt that was made elsewhere."""


class Moving(ABC):
    """The part of a store that takes runs in."""

    _sessions: sessionmaker[Session]

    @abstractmethod
    def folder(self, run_id: str) -> Path:
        """Where the artifacts of a run are."""

    @abstractmethod
    def attempt(self, attempt_id: int) -> Attempt:
        """The attempt with this id."""

    @abstractmethod
    def room_for(self, size: int) -> bool:
        """Whether updated weights of ``size`` bytes are kept."""

    @abstractmethod
    def evict(self, spare: str | None = None) -> None:
        """Removes the oldest runs' weights beyond the budget."""

    def record_of(self, run: Run) -> RunRecord:
        """What is written down of a run that has a result."""
        assert run.result is not None
        made_by = run.attempt if run.finished_attempt is None else self.attempt(run.finished_attempt)
        return RunRecord(
            id=run.id,
            name=run.name,
            identity=run.identity,
            created_at=run.created_at,
            submitted_at=made_by.submitted_at,
            started_at=made_by.started_at,
            finished_at=made_by.finished_at,
            result=run.result,
        )

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """A folder on the disk of the artifacts, removed in the end."""
        folder = self.folder(f".import-{uuid4().hex}")
        try:
            with writing(folder, "PRUNESCOPE_HOME"):
                folder.mkdir(parents=True)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def check_idle(self, run_ids: Collection[str]) -> None:
        """Raises InputError where one of the runs is queued or running here."""
        with self._sessions() as session:
            active = session.scalar(
                select(AttemptRow.run_id).where(AttemptRow.run_id.in_(run_ids), AttemptRow.status.in_(ACTIVE)).limit(1)
            )
        if active is not None:
            raise InputError(f"run = {active!r} is under way here; cancel it or wait for its end, then import again.")

    def take_in(self, record: RunRecord, config: RunConfig, folder: Path) -> bool:
        """Adds a finished run whose artifacts are in ``folder``, which is moved; False where it has a result here already."""
        weights = folder / artifacts.WEIGHTS
        if weights.is_file() and not self.room_for(weights.stat().st_size):
            weights.unlink()
        with self._sessions.begin() as session:
            row = session.get(RunRow, record.id, options=[selectinload(RunRow.attempts)], with_for_update=True)
            if row is not None and row.result is not None:
                return False
            if row is None:
                row = RunRow(id=record.id, kind=RUN, name=record.name, created_at=record.created_at)
                row.config, row.identity = config.model_dump(mode="json"), record.identity.model_dump(mode="json")
                session.add(row)
            row.result = record.result.model_dump(mode="json")
            row.weights_bytes = weights.stat().st_size if weights.is_file() else 0
            row.attempts.append(_made_elsewhere(record, len(row.attempts) + 1))
            session.flush()  # what the database refuses is refused before anything is moved
            shutil.rmtree(self.folder(record.id), ignore_errors=True)
            folder.rename(self.folder(record.id))
        self.evict(spare=record.id)
        return True


def _made_elsewhere(record: RunRecord, number: int) -> AttemptRow:
    return AttemptRow(
        number=number,
        status="finished",
        message=IMPORTED,
        submitted_at=record.submitted_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        process=liveness.this_process(),
        heartbeat_at=record.submitted_at,
    )
