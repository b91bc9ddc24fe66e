"""Loops that numba compiles for the CPU, where PyTorch would take thousands of small operations."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from core.lazy import torch


def runs_compiled(tensor: torch.Tensor) -> bool:
    """Whether compiled loops can work on ``tensor``; on other devices the same is done in PyTorch."""
    return tensor.device.type == "cpu"


def in_parts(loop: Callable[[int, int], None], size: int) -> None:
    """Calls ``loop(start, stop)`` for as many parts of ``range(size)`` as PyTorch uses threads, all at once.

    For loops that let go of Python's lock.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        loop(0, size)
        return
    bounds = [size * part // threads for part in range(threads + 1)]
    for _ in _pool(threads).map(loop, bounds[:-1], bounds[1:]):
        pass


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="compiled")
