"""Runs in the background: a Dask worker process prunes, the store tells everyone how far it is.

By default one worker process on this machine; with ``PRUNESCOPE_SCHEDULER`` set, any Dask cluster. Dask only carries
attempts to workers: what an attempt is, whether it is repeated and how it ended is the store's business.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dask
from distributed import Client, Future, KilledWorker, LocalCluster, Worker, WorkerPlugin

from core.checks import check
from core.config import RunConfig, identify
from core.errors import InputError, NotFound
from core.measurements import Measurement
from core.models.dense import DenseModels
from core.models.sources import Embedded, ModelSource
from core.profile import ModelProfile
from core.settings import Settings, settings
from core.store import Attempt, Store, SweepRecord
from core.sweeps import Sweep
from core.sweeps.points import Point, settle
from core.sweeps.running import attempts_due
from core.target import check_target
from core.workers import Cluster, attempt_key, cluster

log = logging.getLogger(__name__)

_SENDS = 3
"""How often an attempt is handed to a worker that dies before it begins."""

_BEHIND_SINGLE_RUNS = -1
"""The priority of a sweep's points: hours of them shall not keep a single run waiting."""

_DASK = {
    "distributed.scheduler.allowed-failures": 0,  # a lost attempt is the store's to repeat, never Dask's
    "distributed.deploy.lost-worker-timeout": "1 hour",  # a worker slow to come back must not be given up
    # A worker gets one attempt at a time: when it dies, those that wait behind are not lost with it.
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.worker.memory.target": False,  # tensors cannot be spilled, and a pause would look like a hang
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    # Dask's default gives each worker's BLAS one thread; ours has the machine to itself.
    "distributed.nanny.pre-spawn-environ": {"MALLOC_TRIM_THRESHOLD_": 65536},
}


class Jobs:
    """Submits attempts to the workers and keeps the store true about them."""

    def __init__(self, store: Store, policy: Settings | None = None) -> None:
        self._store = store
        self._policy = policy or settings()
        self._futures: dict[int, Future[Any]] = {}
        self._sends: Counter[int] = Counter()
        self._priorities: dict[int, int] = {}
        self._lock = threading.Lock()
        store.reconcile()
        dask.config.set(_DASK)  # for good: some of it is read when a worker is lost, not when the cluster starts
        self._cluster = None if self._policy.scheduler else _local_cluster()
        self._client = Client(self._policy.scheduler or self._cluster, set_as_default=False)
        self._client.register_plugin(_WarmUp(self._policy))

    def close(self) -> None:
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()

    def submit(self, config: RunConfig) -> Attempt:
        """Queues a run; the active attempt where it is under way already.

        Raises InputError, before anything is stored, for what can be known to be wrong.
        """
        identity = identify(config)
        check(config, self.profile(config.model))
        self._store.reconcile()
        attempt, new = self._store.submit(config, identity)
        if new:
            self._send(attempt.id)
        return attempt

    def sweep(self, sweep: Sweep, name: str | None = None) -> SweepRecord:
        """Keeps a sweep and queues its points that are neither finished nor under way, in the order of their turns.

        Single runs go before the points that wait. Raises InputError, before anything is stored, for what can be known to
        be wrong.
        """
        self._store.reconcile()
        points, left_out = settle(sweep, self.profile)
        record = self._store.sweeps.submit(sweep, points, left_out, name)
        self._send_due(record, points)
        return record

    def resume_sweep(self, sweep_id: str) -> None:
        """Queues the points that are neither finished nor under way: failed, cancelled, interrupted or deleted ones.

        Raises NotFound; InputError, after queueing the others, where a deleted run cannot be made again as it was.
        """
        self._store.reconcile()
        self._send_due(self._store.sweeps.get(sweep_id))

    def cancel_sweep(self, sweep_id: str) -> None:
        """Stops a sweep: what waits at once, what runs between two modules. What is finished stays, and what another sweep
        waits for too goes on."""
        self._store.sweeps.cancel(sweep_id)

    def _send_due(self, record: SweepRecord, points: Sequence[Point] | None = None) -> None:
        for attempt in attempts_due(record, self._store, self.profile, points):
            self._send(attempt.id, _BEHIND_SINGLE_RUNS)

    def measure(self, measurement: Measurement) -> Attempt:
        """Queues a measurement; the active attempt where it is under way already."""
        self._store.reconcile()
        attempt, new = self._store.submit_measurement(measurement)
        if new:
            self._send(attempt.id)
        return attempt

    def cancel(self, attempt_id: int) -> None:
        """Stops an attempt: at once while it waits, between two modules while it runs."""
        self._store.request_cancel(attempt_id)

    def profile(self, source: ModelSource) -> ModelProfile:
        """The model's profile; worked out here where the store does not know it, since the worker may be busy."""
        from core.models.profiles import known_profile

        return known_profile(source, self._store)

    def export(self, run_id: str, folder: Path) -> Path:
        """Writes a finished run's pruned model as a Hugging Face folder, on a worker. Raises InputError."""
        check_target(folder, overwrite=False)
        future = self._client.submit(_export, run_id, folder, self._policy, pure=False)
        try:
            saved: Path = future.result()
        except KilledWorker as error:
            raise InputError(f"The worker process ended before {folder} was written; try again.") from error
        return saved

    def workers(self) -> list[str]:
        """The addresses of the workers that are connected now."""
        return sorted(self._client.scheduler_info()["workers"])

    def cluster(self) -> Cluster:
        """The scheduler and its workers: threads, memory, and what each works on."""
        info = self._client.scheduler_info()
        return cluster(str(info["address"]), self._cluster is not None, info, self._client.processing())

    def _send(self, attempt_id: int, priority: int = 0) -> None:
        key = attempt_key(attempt_id, time.time_ns())
        future = self._client.submit(_work, attempt_id, self._policy, key=key, pure=False, priority=priority)
        with self._lock:
            self._futures[attempt_id] = future
            self._sends[attempt_id] += 1
            self._priorities[attempt_id] = priority
        future.add_done_callback(lambda done: self._ended(attempt_id, done))

    def _ended(self, attempt_id: int, future: Future[Any]) -> None:
        """Settles what the worker could not: an attempt that never began is sent again, one under way is *interrupted*."""
        with self._lock:
            self._futures.pop(attempt_id, None)
            priority = self._priorities.pop(attempt_id, 0)
        try:
            attempt = self._store.attempt(attempt_id)
        except NotFound:  # its run was deleted meanwhile
            return
        if attempt.status == "queued" and future.status == "error":
            if self._sends[attempt_id] < _SENDS:
                self._send(attempt_id, priority)
            else:
                self._store.end(attempt_id, "interrupted", "No worker could begin it; see the log, and repeat the run.")
        elif attempt.status == "running":
            message = "Its worker process ended before it was done; repeat the run."
            self._store.end(attempt_id, "interrupted", message)
            if attempt.number < self._policy.max_attempts:
                following, new = self._store.submit_again(attempt.run_id)
                if new:
                    self._send(following.id, priority)


def _local_cluster() -> LocalCluster:
    return LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        memory_limit=0,
        silence_logs=logging.ERROR,
    )


class _WarmUp(WorkerPlugin):
    """Imports torch and transformers and loads the embedded model as soon as a worker starts, so that a run need not."""

    name = "prunescope-warm-up"

    def __init__(self, policy: Settings) -> None:
        self._policy = policy

    def setup(self, worker: Worker) -> None:
        threading.Thread(target=_process(self._policy).warm_up, name="warm-up", daemon=True).start()


class _Process:
    """What a worker process holds: its connection to the store, and the dense model of the last run."""

    def __init__(self, policy: Settings) -> None:
        self.store = Store.open(policy)
        self.models = DenseModels()
        self._warm = False
        self._warming = threading.Lock()

    def warm_up(self) -> None:
        """Imports and loads once; whoever comes second waits, since two threads that import transformers at once meet
        half-made modules."""
        with self._warming:
            if self._warm:
                return
            self._warm = True
            from core.estimate import known_speed

            try:
                self.models.load(Embedded())
                known_speed(self.store)
            except InputError:
                log.exception("The embedded model is not there to be loaded ahead")


_processes: dict[str, _Process] = {}
_processes_lock = threading.Lock()


def _process(policy: Settings) -> _Process:
    with _processes_lock:
        if policy.database_url not in _processes:
            _processes[policy.database_url] = _Process(policy)
        return _processes[policy.database_url]


def _work(attempt_id: int, policy: Settings) -> None:
    process = _process(policy)
    process.warm_up()  # before any import of ours: the warm-up is importing the same
    from core.errors import Cancelled
    from core.worker import run_attempt

    try:
        run_attempt(process.store, attempt_id, process.models.load)
    except Cancelled:
        log.info("Attempt %d was cancelled", attempt_id)


def _export(run_id: str, folder: Path, policy: Settings) -> Path:
    process = _process(policy)
    process.warm_up()
    from core.api import export_run

    return export_run(run_id, folder, process.store)
