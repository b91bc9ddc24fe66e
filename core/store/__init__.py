"""The run store: a database for what happened, a folder for what came out."""

from core.store.records import ACTIVE, Attempt, MeasurementRecord, Run, RunRecord, RunResult, Status
from core.store.store import Store
from core.store.sweep_records import PointState, SweepProgress, SweepRecord

__all__ = [
    "ACTIVE",
    "Attempt",
    "MeasurementRecord",
    "PointState",
    "Run",
    "RunRecord",
    "RunResult",
    "Status",
    "Store",
    "SweepProgress",
    "SweepRecord",
]
