"""Loops that numba compiles for the CPU, where PyTorch would take thousands of small operations."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from core.lazy import torch

_HERE = Path(__file__).parent
_LOOPS = (_HERE / "methods" / "elimination.py", _HERE / "stages" / "channel_groups.py")


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


def known_compiled() -> bool:
    """Whether numba has left its results beside every file of loops."""
    return all(any((file.parent / "__pycache__").glob(f"{file.stem}.*.nbi")) for file in _LOOPS)


def compile_ahead() -> None:
    """Compiles all loops for the arrays they are called with, so that no run waits for it without a word."""
    from core.methods.column_sweep import LowestOfEach, given, sweep
    from core.stages.reallocation import assign, kept_in_order

    weight, keep, order = torch.ones(2, 8), torch.ones(2, 8, dtype=torch.bool), torch.arange(8)
    sweep(weight, torch.eye(8), given(keep))
    sweep(weight, torch.eye(8), LowestOfEach(2, 4), span=4)
    kept_in_order(weight.T.contiguous(), order, 2, 4)
    assign(weight.T.contiguous(), order, 0, 2, 4, 1)
