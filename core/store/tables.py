"""The database's tables. Every change here needs a migration in core/migrations/versions."""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import JSON, ForeignKey, String, UniqueConstraint, false
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

RUN, MEASUREMENT = "run", "measurement"


def about_run(run_id: str) -> str:
    """What the keys of facts about a run begin with; they go when it goes."""
    return f"run {run_id}: "


class Base(DeclarativeBase):
    type_annotation_map: ClassVar = {dict[str, Any]: JSON, list[dict[str, Any]]: JSON}


class RunRow(Base):
    """What attempts are made at: a run, or a measurement."""

    __tablename__ = "runs"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), default=RUN, server_default=RUN)
    name: Mapped[str]
    config: Mapped[dict[str, Any]]
    identity: Mapped[dict[str, Any]]
    created_at: Mapped[float]
    result: Mapped[dict[str, Any] | None]
    weights_bytes: Mapped[int] = mapped_column(default=0)
    attempts: Mapped[list[AttemptRow]] = relationship(
        back_populates="run", cascade="all, delete-orphan", order_by="AttemptRow.number"
    )


class AttemptRow(Base):
    __tablename__ = "attempts"
    __table_args__ = (UniqueConstraint("run_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), index=True)
    number: Mapped[int]
    status: Mapped[str] = mapped_column(String(12), index=True)
    message: Mapped[str] = mapped_column(default="")
    submitted_at: Mapped[float]
    started_at: Mapped[float | None]
    finished_at: Mapped[float | None]
    phase: Mapped[str] = mapped_column(default="")
    phase_done: Mapped[int] = mapped_column(default=0)
    phase_total: Mapped[int] = mapped_column(default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    process: Mapped[str] = mapped_column(default="")
    """Who must be alive for this attempt to be: the submitter while queued, the worker while running."""
    heartbeat_at: Mapped[float]
    run: Mapped[RunRow] = relationship(back_populates="attempts")
    events: Mapped[list[EventRow]] = relationship(cascade="all, delete-orphan", passive_deletes=True)


class EventRow(Base):
    __tablename__ = "events"

    id: Mapped[int] = mapped_column(primary_key=True)
    attempt_id: Mapped[int] = mapped_column(ForeignKey("attempts.id", ondelete="CASCADE"), index=True)
    time: Mapped[float]
    payload: Mapped[dict[str, Any]]


class SweepRow(Base):
    """Many runs that differ along a few axes."""

    __tablename__ = "sweeps"

    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str]
    config: Mapped[dict[str, Any]]
    left_out: Mapped[list[dict[str, Any]]]
    created_at: Mapped[float]
    stopped: Mapped[bool] = mapped_column(default=False, server_default=false())
    """Cancelled, and not taken up again since."""
    points: Mapped[list[SweepPointRow]] = relationship(cascade="all, delete-orphan", passive_deletes=True)


class SweepPointRow(Base):
    """A run of a sweep; no foreign key, so that a run that is deleted leaves its place, to be run again."""

    __tablename__ = "sweep_points"

    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweeps.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """In the order of the axes."""
    turn: Mapped[int]
    """In the order in which they are run."""
    run_id: Mapped[str] = mapped_column(String(16), index=True)


class FactRow(Base):
    """What was found out once and holds for good: what an allocation rests on, a model's profile, a machine's speed."""

    __tablename__ = "facts"

    key: Mapped[str] = mapped_column(String(200), primary_key=True)
    value: Mapped[dict[str, Any]]
    created_at: Mapped[float]
