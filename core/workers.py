"""Who works, and on what: the workers of the cluster as its scheduler describes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

_KEY = re.compile(r"attempt-(\d+)-\d+")


class WorkerState(BaseModel, frozen=True):
    """One worker process. Bytes of memory; ``memory_limit`` is 0 where it has none but the machine's."""

    address: str
    host: str
    threads: int
    memory: int
    memory_limit: int
    attempts: tuple[int, ...] = ()
    """Those of the store's attempts that it was handed; it may not have begun all of them."""


class Cluster(BaseModel, frozen=True):
    """The scheduler's address, whether it is this program's own, and its workers."""

    address: str
    local: bool
    workers: tuple[WorkerState, ...]


def attempt_key(attempt_id: int, moment: int) -> str:
    """What an attempt's task is called in the cluster; ``moment`` tells two sendings apart."""
    return f"attempt-{attempt_id}-{moment}"


def cluster(address: str, local: bool, info: Mapping[str, Any], processing: Mapping[str, Iterable[Any]]) -> Cluster:
    """From the scheduler's ``scheduler_info()`` and ``processing()``."""
    found = []
    for name, worker in sorted(info["workers"].items()):
        keys = (_KEY.fullmatch(str(key)) for key in processing.get(name, ()))
        found.append(
            WorkerState(
                address=name,
                host=str(worker["host"]),
                threads=worker["nthreads"],
                memory=worker.get("metrics", {}).get("memory", 0),
                memory_limit=worker["memory_limit"] or 0,
                attempts=tuple(sorted(int(key[1]) for key in keys if key)),
            )
        )
    return Cluster(address=address, local=local, workers=tuple(found))
