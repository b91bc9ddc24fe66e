"""The run store: a database for what happened, a folder for what came out."""

from core.store.records import ACTIVE, Attempt, MeasurementRecord, Run, RunResult, Status
from core.store.store import Store

__all__ = ["ACTIVE", "Attempt", "MeasurementRecord", "Run", "RunResult", "Status", "Store"]
