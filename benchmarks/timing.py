"""Two ways to do a thing, timed in turns, so that a busy machine slows both alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from rich.console import Console

ROUNDS = 5
console = Console(highlight=False)


def compare(
    what: str, names: tuple[str, str], base: Callable[[], None], more: Callable[[], None], limit: float
) -> None:
    """Prints how long ``base`` and ``more`` take, and whether their ratio is within ``limit``."""
    console.print(f"{what}, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.2f}")
    more()  # reads weights from disk, imports, warms up
    rounds = [(_seconds(base), _seconds(more)) for _ in range(ROUNDS)]
    _show(f"{names[0]}, s", [first for first, _ in rounds])
    _show(f"{names[1]}, s", [second for _, second in rounds])
    ratio = _show("ratio", [second / first for first, second in rounds])
    console.print(f"the ratio is {'within' if ratio <= limit else 'above'} its limit of {limit}")


def _seconds(run: Callable[[], None]) -> float:
    begin = perf_counter()
    with torch.no_grad():
        run()
    return perf_counter() - begin


def _show(name: str, found: list[float]) -> float:
    """Prints the median, smallest and largest, and gives the median."""
    middle = median(found)
    console.print(f"{name:>30}: {middle:6.3f}  (from {min(found):.3f} to {max(found):.3f} in {len(found)} rounds)")
    return middle
