"""Loops that numba compiles for the CPU, where PyTorch would take thousands of small operations."""

from __future__ import annotations

from core.lazy import torch


def runs_compiled(tensor: torch.Tensor) -> bool:
    """Whether compiled loops can work on ``tensor``; on other devices the same is done in PyTorch."""
    return tensor.device.type == "cpu"
