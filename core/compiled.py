"""Loops that numba compiles for the CPU, where PyTorch would take thousands of small operations."""

from __future__ import annotations

from pathlib import Path

from core.lazy import torch

_HERE = Path(__file__).parent
_LOOPS = (
    _HERE / "selection_loops.py",
    _HERE / "methods" / "elimination.py",
    _HERE / "stages" / "channel_groups.py",
)


def runs_compiled(tensor: torch.Tensor) -> bool:
    """Whether compiled loops can work on ``tensor``; on other devices the same is done in PyTorch."""
    return tensor.device.type == "cpu"


def known_compiled() -> bool:
    """Whether numba has left its results beside every file of loops."""
    return all(any((file.parent / "__pycache__").glob(f"{file.stem}.*.nbi")) for file in _LOOPS)


def compile_ahead() -> None:
    """Compiles all loops for the arrays they are called with, so that no run waits for it without a word."""
    from core.methods.column_sweep import LowestOfEach, given, sweep
    from core.selection import LONG, smallest
    from core.stages.reallocation import assign, kept_in_order

    weight, keep, order = torch.ones(2, 8), torch.ones(2, 8, dtype=torch.bool), torch.arange(8)
    for blocksize in (4, 8):  # some columns of a matrix, and all of them
        sweep(weight, torch.eye(8), given(keep), blocksize)
        sweep(weight, torch.eye(8), LowestOfEach(2, 4), blocksize, span=4)
    kept_in_order(weight.T.contiguous(), order, 2, 4)
    smallest(torch.rand(2, 16), 8)
    smallest(torch.rand(1, LONG + 1), 8)
    assign(weight.T.contiguous(), order, 0, 2, 4, 1)
