"""The run store: a database for what happened, a folder for what came out."""

from core.status import ACTIVE, Status
from core.store.records import Attempt, MeasurementRecord, Run, RunResult
from core.store.store import Store

__all__ = ["ACTIVE", "Attempt", "MeasurementRecord", "Run", "RunResult", "Status", "Store"]
