"""The same mask three times: survivors as they were, updated column by column, and the best there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from core.layer_error import reconstruction_error
from core.lazy import torch
from core.lessons.example import dice, small_inputs, small_weights, statistics_of
from core.methods.base import Pruned
from core.methods.magnitude import Magnitude
from core.patterns import Unstructured
from core.stages.admm import ADMMUpdate
from core.stages.reconstruction import Reconstruction
from core.statistics import InputStatistics

ROWS, COLUMNS = 4, 8


@dataclass(frozen=True)
class Survivors:
    """A matrix [out, in] after a mask, and how far its layer's output moves."""

    weight: Float[np.ndarray, "out in"]
    error: float


@dataclass(frozen=True)
class Update:
    """The dense weight, the mask that all share, and what becomes of the survivors: nothing, a sweep of columns
    (SparseGPT's), or all at once (ADMM's), in this order."""

    weight: Float[np.ndarray, "out in"]
    keep: Bool[np.ndarray, "out in"]
    left_alone: Survivors
    swept: Survivors
    best: Survivors

    @property
    def each(self) -> tuple[Survivors, ...]:
        return self.left_alone, self.swept, self.best


def update(seed: int, correlation: float, sparsity: float) -> Update:
    """Magnitude chooses the mask, so it is the same however alike the inputs are; these are as in the lesson on SparseGPT."""
    generator = dice(seed)
    weight = small_weights(ROWS, COLUMNS, generator)
    loadings = 0.4 + 0.6 * torch.rand(COLUMNS, generator=generator)
    loadings[torch.randperm(COLUMNS, generator=generator)[: COLUMNS // 4]] *= -1
    stats = statistics_of(small_inputs(torch.ones(COLUMNS), correlation, generator, loadings))
    masked = Magnitude().prune(weight, stats, Unstructured(group="output"), sparsity)
    tiny = 1e-4  # of damping: the small Gram matrix needs none, and the optimum is then that of the output alone
    return Update(
        weight.numpy(),
        masked.keep.numpy(),
        _survivors(weight, masked, stats),
        _survivors(weight, Reconstruction(damping=tiny).update(weight, masked, stats), stats),
        _survivors(weight, ADMMUpdate(damping=tiny).update(weight, masked, stats), stats),
    )


def errors_by_likeness(seed: int, sparsity: float, correlations: tuple[float, ...]) -> tuple[tuple[float, ...], ...]:
    """The three errors for each correlation, in the order of ``Update.each``."""
    found = [update(seed, correlation, sparsity) for correlation in correlations]
    return tuple(tuple(one.each[way].error for one in found) for way in range(3))


def _survivors(weight: torch.Tensor, pruned: Pruned, stats: InputStatistics) -> Survivors:
    return Survivors(pruned.weight.numpy(), reconstruction_error(weight, pruned.weight, stats["sample"]))
