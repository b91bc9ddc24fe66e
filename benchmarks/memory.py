"""The peak of this process's resident memory over a stretch of work. Needs nothing but Python, so that peers can import it."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_MB = 2**20
_EVERY = 0.005


class Peak:
    """How much resident memory rose above where it stood, in MB; known when the stretch is over."""

    mb: float = float("nan")


@contextmanager
def peak_above_now(watched: bool = True) -> Iterator[Peak]:
    """The kernel's own high-water mark on Linux, where it can be reset; elsewhere what is seen every five milliseconds.

    Not ``watched``: nothing is done, and nothing known.
    """
    peak = Peak()
    if not watched:
        yield peak
        return
    _give_back()
    if _resets():
        before = _status("VmRSS")
        yield peak
        peak.mb = (_status("VmHWM") - before) / _MB
        return
    before, seen, done = _resident(), [0], threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen[0] = max(seen[0], _resident() - before)
            time.sleep(_EVERY)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()
    peak.mb = seen[0] / _MB


def _give_back() -> None:
    """Freed memory that malloc still holds would count as there already, and what uses it again not as a rise."""
    gc.collect()
    with suppress(OSError, AttributeError):  # only the GNU C library has it
        ctypes.CDLL(None).malloc_trim(0)


def _resets() -> bool:
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def _status(key: str) -> int:
    """Bytes."""
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024


def _resident() -> int:
    if _STATUS.exists():
        return _status("VmRSS")
    return getrusage(RUSAGE_SELF).ru_maxrss  # macOS: bytes, and only ever more
