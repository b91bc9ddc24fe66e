"""Runs, their attempts and events, and what is known for good."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from sqlalchemy import Engine, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import selectinload, sessionmaker

from core.config import Identity, RunConfig
from core.errors import NotFound
from core.events import Event, PhaseStarted, Progress, Working, event_from_json
from core.lazy import torch
from core.measurements.base import Measurement
from core.settings import Settings, settings
from core.store import artifacts, liveness
from core.store.artifacts import Artifacts
from core.store.database import open_database
from core.store.findings import Findings
from core.store.moving import Moving
from core.store.reading import RunReader
from core.store.records import ACTIVE, Attempt, MeasurementRecord, Run, RunResult, Status
from core.store.sweeps import Sweeps
from core.store.tables import MEASUREMENT, RUN, AttemptRow, EventRow, FactRow, RunRow, about_run


class Store(Findings, Moving):
    """The database and the artifact folder of one installation; safe to use from many processes at once."""

    def __init__(self, engine: Engine, folder: Path, policy: Settings) -> None:
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        self._folder = folder
        self._policy = policy
        self._engine = engine
        self._reader = RunReader(self._sessions)
        self.sweeps = Sweeps(self._sessions, self.runs)

    @classmethod
    def open(cls, policy: Settings | None = None) -> Self:
        """The store that ``policy`` (or the environment) names, created or migrated where needed."""
        policy = policy or settings()
        return cls(open_database(policy.database_url, policy.home), policy.artifacts, policy)

    @property
    def home(self) -> Path:
        """The folder in which all of it lies that is no database elsewhere."""
        return self._policy.home

    def close(self) -> None:
        self._engine.dispose()

    # Runs -------------------------------------------------------------------------------------------------------

    def submit(self, config: RunConfig, identity: Identity) -> tuple[Attempt, bool]:
        """A new queued attempt at this config's run; or its active attempt, and False, if one is under way."""
        written = {"config": config.model_dump(mode="json"), "identity": identity.model_dump(mode="json")}
        return self._attempt_at(identity.run_id(config), kind=RUN, name=config.title, **written)

    def submit_measurement(self, measurement: Measurement) -> tuple[Attempt, bool]:
        """The same for a measurement."""
        written = {"config": measurement.dump(), "identity": {}}
        return self._attempt_at(measurement.id, kind=MEASUREMENT, name=measurement.label, **written)

    def submit_again(self, work_id: str) -> tuple[Attempt, bool]:
        """A new queued attempt at a run or measurement that is there. Raises NotFound."""
        with self._sessions() as session:
            row = session.get(RunRow, work_id)
            if row is None:
                raise NotFound(f"run = {work_id!r} does not exist; it may have been deleted.")
            written = {"kind": row.kind, "name": row.name, "config": row.config, "identity": row.identity}
        return self._attempt_at(work_id, **written)

    def _attempt_at(self, work_id: str, **written: Any) -> tuple[Attempt, bool]:
        while True:
            try:
                return self._try_attempt_at(work_id, written)
            except IntegrityError:  # another process submitted the same in between: look again
                continue

    def _try_attempt_at(self, work_id: str, written: dict[str, Any]) -> tuple[Attempt, bool]:
        with self._sessions.begin() as session:
            row = session.get(RunRow, work_id, options=[selectinload(RunRow.attempts)], with_for_update=True)
            if row is None:
                row = RunRow(id=work_id, created_at=time.time(), result=None, weights_bytes=0, **written)
                session.add(row)
            elif row.attempts and row.attempts[-1].status in ACTIVE:
                return _attempt(row.attempts[-1]), False
            now = time.time()
            attempt = AttemptRow(
                number=len(row.attempts) + 1,
                status="queued",
                submitted_at=now,
                process=liveness.this_process(),
                heartbeat_at=now,
            )
            row.attempts.append(attempt)
            session.flush()
            return _attempt(attempt), True

    def run(self, run_id: str) -> Run:
        """The run with this id. Raises NotFound."""
        with self._sessions() as session:
            row = session.get(RunRow, run_id, options=[selectinload(RunRow.attempts)])
            if row is None or row.kind != RUN:
                raise NotFound(f"run = {run_id!r} does not exist; it may have been deleted.")
            return _run(row)

    def runs(self, ids: Collection[str] | None = None) -> list[Run]:
        """All runs, or those of ``ids`` that exist, the latest submitted first."""
        return self._reader.read(ids)

    def measurements(self) -> list[MeasurementRecord]:
        """All measurements with their latest attempts, the latest submitted first."""
        with self._sessions() as session:
            chosen = select(RunRow).where(RunRow.kind == MEASUREMENT).options(selectinload(RunRow.attempts))
            rows = session.scalars(chosen).all()
        return sorted((_measurement(row) for row in rows), key=lambda record: -record.attempt.submitted_at)

    def measurement(self, measurement_id: str) -> MeasurementRecord | None:
        """The measurement with this id; None where it was never asked for."""
        with self._sessions() as session:
            row = session.get(RunRow, measurement_id, options=[selectinload(RunRow.attempts)])
            return _measurement(row) if row and row.kind == MEASUREMENT else None

    def work(self, attempt: Attempt) -> Run | MeasurementRecord:
        """What the attempt is made at. Raises NotFound."""
        return self.measurement(attempt.run_id) or self.run(attempt.run_id)

    def rename(self, run_id: str, name: str) -> None:
        with self._sessions.begin() as session:
            session.execute(update(RunRow).where(RunRow.id == run_id).values(name=name))

    def delete(self, run_id: str) -> None:
        """Forgets the run with all that is known of it; an active attempt is asked to stop and loses its place."""
        with self._sessions.begin() as session:
            row = session.get(RunRow, run_id)
            if row is None:
                raise NotFound(f"run = {run_id!r} does not exist; it may have been deleted.")
            session.delete(row)
            session.execute(delete(FactRow).where(FactRow.key.startswith(about_run(run_id), autoescape=True)))
        shutil.rmtree(self.folder(run_id), ignore_errors=True)
        for measurement_id in self._measurements_of(run_id):
            self.delete(measurement_id)

    def _measurements_of(self, run_id: str) -> list[str]:
        """By what is written in the row: the class that measured may not be loaded here."""
        with self._sessions() as session:
            rows = session.execute(select(RunRow.id, RunRow.config).where(RunRow.kind == MEASUREMENT)).all()
        return [row_id for row_id, config in rows if config.get("run") == run_id]

    # Attempts ---------------------------------------------------------------------------------------------------

    def attempt(self, attempt_id: int) -> Attempt:
        with self._sessions() as session:
            row = session.get(AttemptRow, attempt_id)
            if row is None:
                raise NotFound(f"attempt = {attempt_id} does not exist; its run may have been deleted.")
            return _attempt(row)

    def attempts(self, run_id: str) -> list[Attempt]:
        with self._sessions() as session:
            rows = session.scalars(select(AttemptRow).where(AttemptRow.run_id == run_id).order_by(AttemptRow.number))
            return [_attempt(row) for row in rows]

    def active(self) -> list[Attempt]:
        """Attempts queued or running, in the order in which they were submitted."""
        with self._sessions() as session:
            rows = session.scalars(select(AttemptRow).where(AttemptRow.status.in_(ACTIVE)).order_by(AttemptRow.id))
            return [_attempt(row) for row in rows]

    def start(self, attempt_id: int) -> bool:
        """Marks the attempt as running in this process; False where it was cancelled or deleted while it waited."""
        with self._sessions.begin() as session:
            now = time.time()
            changed = session.execute(
                update(AttemptRow)
                .where(AttemptRow.id == attempt_id, AttemptRow.status == "queued")
                .values(status="running", started_at=now, heartbeat_at=now, process=liveness.this_process())
            )
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    def heartbeat(self, attempt_id: int) -> None:
        with self._sessions.begin() as session:
            session.execute(update(AttemptRow).where(AttemptRow.id == attempt_id).values(heartbeat_at=time.time()))

    def end(self, attempt_id: int, status: Status, message: str = "") -> None:
        """Closes an active attempt; one that is closed already stays as it is."""
        with self._sessions.begin() as session:
            session.execute(
                update(AttemptRow)
                .where(AttemptRow.id == attempt_id, AttemptRow.status.in_(ACTIVE))
                .values(status=status, message=message, finished_at=time.time())
            )

    def request_cancel(self, attempt_id: int) -> None:
        """A queued attempt is cancelled at once, a running one between two steps."""
        with self._sessions.begin() as session:
            session.execute(update(AttemptRow).where(AttemptRow.id == attempt_id).values(cancel_requested=True))
            session.execute(
                update(AttemptRow)
                .where(AttemptRow.id == attempt_id, AttemptRow.status == "queued")
                .values(status="cancelled", finished_at=time.time())
            )

    def should_stop(self, attempt_id: int) -> bool:
        """True once the attempt was asked to stop, or its run was deleted."""
        with self._sessions() as session:
            requested = session.scalar(select(AttemptRow.cancel_requested).where(AttemptRow.id == attempt_id))
        return requested is None or requested

    def reconcile(self) -> list[Attempt]:
        """Marks active attempts whose process is gone as interrupted; returns them."""
        message = "The process that ran it ended before it was done; repeat the run."
        with self._sessions() as session:
            rows = session.execute(
                select(AttemptRow.id, AttemptRow.process, AttemptRow.heartbeat_at).where(AttemptRow.status.in_(ACTIVE))
            ).all()
        heard: dict[str, float] = {}
        for _, process, heartbeat_at in rows:
            heard[process] = max(heartbeat_at, heard.get(process, 0.0))
        gone = {process for process, heartbeat_at in heard.items() if not liveness.alive(process, heartbeat_at)}
        interrupted = []
        for attempt_id, process, _ in rows:
            if process not in gone:
                continue
            with self._sessions.begin() as session:
                changed = session.execute(  # only if nobody has taken it up or ended it meanwhile
                    update(AttemptRow)
                    .where(AttemptRow.id == attempt_id, AttemptRow.process == process, AttemptRow.status.in_(ACTIVE))
                    .values(status="interrupted", finished_at=time.time(), message=message)
                )
            if changed.rowcount:  # type: ignore[attr-defined]
                interrupted.append(self.attempt(attempt_id))
        return interrupted

    # Events -----------------------------------------------------------------------------------------------------

    def record(self, attempt_id: int, event: Event) -> None:
        """Keeps an event; progress only moves the attempt's counter."""
        with self._sessions.begin() as session:
            change: dict[str, Any] = {"heartbeat_at": time.time()}
            if isinstance(event, Progress):
                change["phase_done"] = event.done
            elif isinstance(event, Working):
                change["message"] = event.text
            elif isinstance(event, PhaseStarted):
                change |= {"phase": event.phase, "phase_done": 0, "phase_total": event.total, "message": ""}
            changed = session.execute(update(AttemptRow).where(AttemptRow.id == attempt_id).values(**change))
            if changed.rowcount and not isinstance(event, Progress | Working):  # type: ignore[attr-defined]
                session.add(EventRow(attempt_id=attempt_id, time=time.time(), payload=event.model_dump(mode="json")))

    def events(self, attempt_id: int) -> list[tuple[float, Event]]:
        """The attempt's events with their times, in order."""
        with self._sessions() as session:
            rows = session.scalars(select(EventRow).where(EventRow.attempt_id == attempt_id).order_by(EventRow.id))
            return [(row.time, event_from_json(row.payload)) for row in rows]

    # Results and artifacts --------------------------------------------------------------------------------------

    def folder(self, run_id: str) -> Path:
        return self._folder / run_id

    def finish(self, attempt_id: int, result: RunResult, kept: Artifacts) -> None:
        """Writes a run's artifacts, then its result: a run with a result always has its artifacts."""
        attempt = self.attempt(attempt_id)
        run = self.run(attempt.run_id)
        shapes = {row.module: (row.rows, row.columns) for row in kept.modules.itertuples()}
        size = sum(tensor.numel() * tensor.element_size() for tensor in kept.weights.values())
        with artifacts.new_folder(self.folder(run.id), "PRUNESCOPE_HOME") as folder:
            artifacts.write_config(folder, run.config.model_dump(mode="json"))
            artifacts.write_masks(folder, kept.masks, shapes, kept.permutations)
            artifacts.write_modules(folder, kept.modules)
            if len(kept.groups):
                artifacts.write_groups(folder, kept.groups)
            for key, found in kept.evaluated.items():
                artifacts.write_evaluated(folder, key, found)
            written = artifacts.write_weights(folder, kept.weights) if kept.weights and self.room_for(size) else 0
        with self._sessions.begin() as session:
            changed = session.execute(
                update(RunRow)
                .where(RunRow.id == run.id)
                .values(result=result.model_dump(mode="json"), weights_bytes=written)
            )
        if not changed.rowcount:  # type: ignore[attr-defined]  # deleted while it was saved
            shutil.rmtree(self.folder(run.id), ignore_errors=True)
        self.end(attempt_id, "finished")
        self.evict(spare=run.id)

    def room_for(self, size: int) -> bool:
        """Whether updated weights of ``size`` bytes are kept."""
        policy = self._policy.keep_weights
        return policy == "always" or (policy == "budget" and size <= self._budget)

    @property
    def _budget(self) -> float:
        return self._policy.weights_budget_gb * 1e9

    def evict(self, spare: str | None = None) -> None:
        """Within a budget: removes the oldest runs' weights until the rest fits; masks and results stay."""
        if self._policy.keep_weights != "budget":
            return
        with self._sessions() as session:
            rows = session.execute(
                select(RunRow.id, RunRow.weights_bytes).where(RunRow.weights_bytes > 0).order_by(RunRow.created_at)
            ).all()
        total = sum(size for _, size in rows)
        for run_id, size in rows:
            if total <= self._budget:
                return
            if run_id != spare:
                self.delete_weights(run_id)
                total -= size

    def delete_weights(self, run_id: str) -> None:
        """Removes a run's updated weights; it is pruned again from its config when they are needed."""
        (self.folder(run_id) / artifacts.WEIGHTS).unlink(missing_ok=True)
        with self._sessions.begin() as session:
            session.execute(update(RunRow).where(RunRow.id == run_id).values(weights_bytes=0))

    def modules(self, run_id: str) -> pd.DataFrame:
        """A finished run's table of modules, one row each."""
        return artifacts.read_modules(self.folder(run_id))

    def masks(self, run_id: str) -> dict[str, torch.Tensor]:
        """A finished run's keep masks by module name."""
        return artifacts.read_masks(self.folder(run_id))

    def packed_masks(self, run_id: str) -> dict[str, tuple[np.ndarray, tuple[int, int]]]:
        """The same as bits, eight a byte, each with its shape: quick to count and to compare."""
        return artifacts.read_packed(self.folder(run_id))

    def groups(self, run_id: str) -> pd.DataFrame:
        """The parts of blocks that stages refined, one row each."""
        return artifacts.read_groups(self.folder(run_id))

    def permutations(self, run_id: str) -> dict[str, torch.Tensor]:
        """By module: the order of inputs in which its N:M pattern holds, where that is not the weights' own."""
        return artifacts.read_permutations(self.folder(run_id))

    def mask(self, run_id: str, module: str) -> torch.Tensor:
        """A module's keep mask. Raises NotFound where it was replaced by factors."""
        return artifacts.read_mask(self.folder(run_id), module)

    def packed_mask(self, run_id: str, module: str) -> tuple[np.ndarray, tuple[int, int]]:
        """The same as bits, with its shape. Raises NotFound likewise."""
        return artifacts.read_packed_mask(self.folder(run_id), module)

    def survivors(self, run_id: str) -> dict[str, torch.Tensor] | None:
        """Survivors of updated modules and factors, or None where they were not kept."""
        return artifacts.read_weights(self.folder(run_id)) if self.run(run_id).weights_bytes else None

    # Facts ------------------------------------------------------------------------------------------------------

    def fact(self, key: str) -> dict[str, Any] | None:
        with self._sessions() as session:
            row = session.get(FactRow, key)
            return row.value if row else None

    def remember(self, key: str, value: dict[str, Any]) -> None:
        with self._sessions.begin() as session:
            session.merge(FactRow(key=key, value=value, created_at=time.time()))

    def fact_sizes(self, keys: Collection[str]) -> dict[str, tuple[int, float]]:
        """Of those that are known: bytes, and when they were found out."""
        with self._sessions() as session:
            rows = session.scalars(select(FactRow).where(FactRow.key.in_(keys)))
            return {row.key: (len(json.dumps(row.value)), row.created_at) for row in rows}

    def forget(self, keys: Collection[str]) -> None:
        """Facts are found out again when they are needed."""
        with self._sessions.begin() as session:
            session.execute(delete(FactRow).where(FactRow.key.in_(keys)))


def _attempt(row: AttemptRow) -> Attempt:
    return Attempt.model_validate({name: getattr(row, name) for name in Attempt.model_fields})


def _run(row: RunRow) -> Run:
    return Run(
        id=row.id,
        name=row.name,
        config=RunConfig.model_validate(row.config),
        identity=Identity.model_validate(row.identity),
        created_at=row.created_at,
        result=RunResult.model_validate(row.result) if row.result else None,
        weights_bytes=row.weights_bytes,
        attempt=_attempt(row.attempts[-1]),
        finished_attempt=next((a.id for a in reversed(row.attempts) if a.status == "finished"), None),
    )


def _measurement(row: RunRow) -> MeasurementRecord:
    return MeasurementRecord(
        id=row.id, name=row.name, measurement=Measurement.coerce(row.config), attempt=_attempt(row.attempts[-1])
    )
