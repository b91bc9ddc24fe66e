"""All runs of a store, quickly: what may change is asked each time, in one query; what does not is parsed once."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Select, case, func, select
from sqlalchemy.orm import Session, sessionmaker

from core.config import Identity, RunConfig
from core.store.records import Attempt, Run, RunResult
from core.store.tables import RUN, AttemptRow, RunRow

_AT_ONCE = 500
"""Ids in one query; databases limit its parameters."""
_Head = Any
"""A row of the database: a run's small columns, its latest attempt, and the attempt that made its result."""
_ATTEMPT = {name: getattr(AttemptRow, name) for name in Attempt.model_fields}


class RunReader:
    """Reads runs, and remembers those that it read: a run whose row is as it was is not made again, and one of which only
    the latest attempt changed keeps its parsed config, identity and result."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._known: dict[str, tuple[_Head, Run]] = {}

    def read(self, ids: Collection[str] | None = None) -> list[Run]:
        """All runs, or those of ``ids`` that exist, the latest submitted first."""
        known = self._known
        with self._sessions() as session:
            heads = _heads(session, ids)
            found = {head.work: before for head in heads if (before := known.get(head.work)) and before[0] == head}
            changed = [head for head in heads if head.work not in found]
            unread = [head.work for head in changed if not _same_content(head, known.get(head.work))]
            contents = _contents(session, unread)
        for head in changed:
            before = known.get(head.work)
            content = contents.get(head.work) or (_content(before[1]) if before else None)
            if content:  # else it was deleted meanwhile
                found[head.work] = head, _run(head, content)
        # A new dict each time: other threads may be reading the old one. What was deleted is forgotten with it.
        self._known = found if ids is None else known | found
        return sorted((run for _, run in found.values()), key=lambda run: -run.attempt.submitted_at)


def _same_content(head: _Head, before: tuple[_Head, Run] | None) -> bool:
    """Whether config, identity and result are what they were: made at the same time, finished by the same attempt."""
    if before is None:
        return False
    # The times too: after a run was deleted, SQLite gives its attempt's number to the next.
    return all(
        getattr(head, name) == getattr(before[0], name) for name in ("created_at", "finished_attempt", "result_at")
    )


def _heads(session: Session, ids: Collection[str] | None) -> list[_Head]:
    finished = func.max(case((AttemptRow.status == "finished", AttemptRow.id))).label("finished_attempt")
    when = func.max(case((AttemptRow.status == "finished", AttemptRow.finished_at))).label("result_at")
    last = select(AttemptRow.run_id, func.max(AttemptRow.number).label("number"), finished, when)
    last = last.group_by(AttemptRow.run_id)
    if ids is not None:
        chosen = list(ids)
        parts = [chosen[start : start + _AT_ONCE] for start in range(0, len(chosen), _AT_ONCE)]
        return [row for part in parts for row in session.execute(_joined(last, part)).all()]
    return list(session.execute(_joined(last)).all())


def _joined(last: Any, ids: list[str] | None = None) -> Select[Any]:
    if ids is not None:
        last = last.where(AttemptRow.run_id.in_(ids))
    latest = last.subquery()
    small = (RunRow.id.label("work"), RunRow.name.label("title"), RunRow.created_at, RunRow.weights_bytes)
    return (
        select(*small, latest.c.finished_attempt, latest.c.result_at, *_ATTEMPT.values())
        .join(latest, latest.c.run_id == RunRow.id)
        .join(AttemptRow, (AttemptRow.run_id == RunRow.id) & (AttemptRow.number == latest.c.number))
        .where(RunRow.kind == RUN)
    )


def _contents(session: Session, ids: list[str]) -> dict[str, dict[str, Any]]:
    """By run: what was asked and found. A run that was deleted meanwhile is not there."""
    contents = {}
    for start in range(0, len(ids), _AT_ONCE):
        chosen = select(RunRow.id, RunRow.config, RunRow.identity, RunRow.result)
        for row in session.execute(chosen.where(RunRow.id.in_(ids[start : start + _AT_ONCE]))):
            contents[row.id] = {
                "config": RunConfig.model_validate(row.config),
                "identity": Identity.model_validate(row.identity),
                "result": RunResult.model_validate(row.result) if row.result else None,
            }
    return contents


def _content(run: Run) -> dict[str, Any]:
    return {"config": run.config, "identity": run.identity, "result": run.result}


def _run(head: _Head, content: dict[str, Any]) -> Run:
    return Run(
        id=head.work,
        name=head.title,
        created_at=head.created_at,
        weights_bytes=head.weights_bytes,
        attempt=Attempt.model_validate({name: getattr(head, name) for name in _ATTEMPT}),
        finished_attempt=head.finished_attempt,
        **content,
    )
