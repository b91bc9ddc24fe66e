"""Whether the process behind an attempt still lives."""

from __future__ import annotations

import json
import os
import socket
import time
from functools import cache

import psutil

HEARTBEAT_SECONDS = 2.0
SILENCE_SECONDS = 30.0


@cache
def _identity_of(pid: int) -> str:
    started = psutil.Process(pid).create_time()
    return json.dumps([socket.gethostname(), pid, round(started, 2)])


def this_process() -> str:
    """Identifies this process for good: host, pid and start time (pids are reused)."""
    return _identity_of(os.getpid())


def alive(process: str, heartbeat_at: float) -> bool:
    """On this host by the process table; on another by its last heartbeat."""
    host, pid, started = json.loads(process)
    if host != socket.gethostname():
        return time.time() - heartbeat_at < SILENCE_SECONDS
    try:
        running = psutil.Process(pid)
        return bool(round(running.create_time(), 2) == started and running.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
