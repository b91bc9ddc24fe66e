"""Jobs on a real Dask worker, and waiting for what happens there."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dask
import pytest
from dask.utils import parse_timedelta

from core.config import RunConfig
from core.jobs import Jobs
from core.settings import Settings
from core.store import Attempt, Store

LOST_WORKER = "distributed.deploy.lost-worker-timeout"
PATIENCE = 120.0  # a worker that starts imports torch, on a machine that may be busy
Configs = Callable[..., RunConfig]


def wait(condition: Callable[[], Any], seconds: float = PATIENCE, tell: Callable[[], Any] = str) -> Any:
    """What ``condition`` gives once it gives something; ``tell`` says what there is where it never does."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"did not happen in {seconds} s: {tell()}"
        time.sleep(0.01)
    return value


class Desk:
    """Jobs and the store they write to."""

    def __init__(self, jobs: Jobs, store: Store, home: Path) -> None:
        self.jobs, self.store, self.home = jobs, store, home
        self.lost_worker = parse_timedelta(dask.config.get(LOST_WORKER))

    def status(self, attempt: Attempt) -> str:
        return self.store.attempt(attempt.id).status

    def until(self, attempt: Attempt, *statuses: str, seconds: float = PATIENCE) -> Attempt:
        wait(lambda: self.status(attempt) in statuses, seconds, lambda: self.store.attempt(attempt.id))
        return self.store.attempt(attempt.id)

    def until_under_way(self, attempt: Attempt) -> None:
        """Until the attempt measures window after window, for some seconds to come."""

        def measures() -> bool:
            now = self.store.attempt(attempt.id)
            assert now.active, now
            return now.status == "running" and 0 < now.phase_done < now.phase_total

        wait(measures)

    def worker_of(self, attempt: Attempt) -> int:
        with closing(sqlite3.connect(self.home / "runs.sqlite3")) as connection:
            query = "SELECT process FROM attempts WHERE id = ?"
            process = connection.execute(query, (attempt.id,)).fetchone()[0]
        return int(json.loads(process)[1])


@contextmanager
def open_desk(home: Path, cache: Path) -> Iterator[Desk]:
    """A desk with a worker of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNESCOPE_CACHE", str(cache))
        policy = Settings(home=home)
        store = Store.open(policy)
        jobs = Jobs(store, policy)
        desk = Desk(jobs, store, home)
        # A worker that takes long to come back has a test of its own; in the others a busy machine shall not matter.
        with dask.config.set({LOST_WORKER: "1 hour"}):
            yield desk
        jobs.close()
        store.close()
