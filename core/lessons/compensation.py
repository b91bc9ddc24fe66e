"""SparseGPT on one small matrix, column by column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from core.layer_error import reconstruction_error
from core.lazy import torch
from core.lessons.example import dice, small_inputs, small_weights, statistics_of
from core.methods.column_steps import ColumnStep, column_steps
from core.methods.sparsegpt import SparseGPT
from core.patterns import Pattern

ROWS, COLUMNS = 4, 8


@dataclass(frozen=True)
class Compensation:
    """The dense weight [out, in], the steps, and after each (the first before any) how far the output has moved: as the
    sweep leaves it, and with the same mask but nothing passed on. ``pivots``: ``U_jj`` of each column."""

    weight: Float[np.ndarray, "out in"]
    pivots: Float[np.ndarray, " in"]
    correlation: Float[np.ndarray, "in in"]
    steps: tuple[ColumnStep, ...]
    errors: tuple[float, ...]
    uncompensated: tuple[float, ...]


def compensation(seed: int, correlation: float, pattern: Pattern, sparsity: float) -> Compensation:
    """The inputs all have norm 1; they share one signal, some more of it than others, and some with the opposite sign."""
    generator = dice(seed)
    weight = small_weights(ROWS, COLUMNS, generator)
    loadings = 0.4 + 0.6 * torch.rand(COLUMNS, generator=generator)
    loadings[torch.randperm(COLUMNS, generator=generator)[: COLUMNS // 4]] *= -1
    inputs = small_inputs(torch.ones(COLUMNS), correlation, generator, loadings)
    stats = statistics_of(inputs)
    method = SparseGPT()
    steps, _ = column_steps(method, weight, stats, pattern, sparsity)
    return Compensation(
        weight.numpy(),
        method.factor(stats).diagonal().numpy(),
        (inputs.T @ inputs).numpy(),
        tuple(steps),
        (0.0, *(reconstruction_error(weight, step.weight, inputs) for step in steps)),
        (0.0, *(reconstruction_error(weight, weight * _so_far(step), inputs) for step in steps)),
    )


def _so_far(step: ColumnStep) -> Bool[torch.Tensor, "out in"]:
    """The mask without what is decided ahead: a group's mask is chosen when the sweep reaches its first column."""
    ahead = torch.arange(step.keep.shape[1]) > step.column
    return step.keep | ahead
