"""The column sweep of SparseGPT, one column at a time, to look at."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Bool, Float

from core.lazy import torch
from core.methods.base import Pruned
from core.methods.sparsegpt import SparseGPT
from core.patterns import Pattern
from core.statistics import InputStatistics


class ColumnStep(NamedTuple):
    """The matrix when the sweep leaves ``column``.

    ``weight`` [out, in]: final up to ``column``, as updated so far beyond it. ``keep`` [out, in]: the mask as far as it is
    decided, True beyond. ``error`` [out]: ``(w_j - q_j) / U_jj`` of each row, whose squares add up to the damped
    ``(W - W') H (W - W')^T``. ``passed_on`` [out, in]: what was added to the columns to the right; 0 elsewhere.
    """

    column: int
    weight: Float[torch.Tensor, "out in"]
    keep: Bool[torch.Tensor, "out in"]
    error: Float[torch.Tensor, " out"]
    passed_on: Float[torch.Tensor, "out in"]


def column_steps(
    method: SparseGPT,
    weight: Float[torch.Tensor, "out in"],
    stats: InputStatistics,
    pattern: Pattern,
    sparsity: float,
) -> tuple[list[ColumnStep], Pruned]:
    """Every step of ``method.prune``, by the very same sweep, and its result; for matrices small enough to keep a copy of
    each step.

    Inside a block of ``blocksize`` columns errors flow at once; what goes to the columns beyond it waits, and is part of
    what the block's last column passes on.
    """
    steps: list[ColumnStep] = []
    before = weight.masked_fill(stats["gram"].diagonal() == 0, 0)

    def watch(now: torch.Tensor, keep: torch.Tensor, column: int, error: torch.Tensor) -> None:
        nonlocal before
        decided = torch.arange(now.shape[1], device=now.device) <= column
        after = torch.where(decided & ~keep, 0, now)  # pruned weights are 0 but for rounding
        passed_on = (now - before).masked_fill(decided, 0)
        steps.append(ColumnStep(column, after, keep.clone(), error.clone(), passed_on))
        before = now.clone()

    return steps, method.prune(weight, stats, pattern, sparsity, watch)
