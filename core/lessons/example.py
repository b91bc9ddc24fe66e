"""What the examples are made of: small matrices, inputs, and a method on both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from core.layer_error import reconstruction_error
from core.lazy import torch
from core.methods.base import Method
from core.patterns import Pattern
from core.statistics import STATISTICS, InputStatistics

TOKENS = 64
"""Rows of the small inputs: one calibration sequence."""


def dice(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_weights(rows: int, columns: int, generator: torch.Generator) -> Float[torch.Tensor, "rows columns"]:
    """0.1, 0.2, 0.3, … in random order with random signs: one decimal, and no two of the same size."""
    size = rows * columns
    magnitudes = (torch.randperm(size, generator=generator) + 1) / 10
    signs = torch.randint(0, 2, (size,), generator=generator) * 2 - 1
    return (magnitudes * signs).reshape(rows, columns)


def small_inputs(
    norms: Float[torch.Tensor, " columns"],
    correlation: float,
    generator: torch.Generator,
    loadings: Float[torch.Tensor, " columns"] | None = None,
) -> Float[torch.Tensor, "tokens columns"]:
    """Random inputs with exactly these norms: each is a signal of its own plus one that all share.

    The cosine of any two is exactly ``correlation`` (0 to 1), times both their ``loadings`` (-1 to 1) where there are some.
    """
    signals = torch.linalg.qr(torch.randn(TOKENS, len(norms) + 1, generator=generator)).Q
    own, common = signals[:, :-1], signals[:, -1:]
    load = correlation**0.5 * (torch.ones_like(norms) if loadings is None else loadings)
    mixed: torch.Tensor = ((1 - load**2).sqrt() * own + load * common) * norms
    return mixed


def statistics_of(inputs: Float[torch.Tensor, "tokens columns"]) -> InputStatistics:
    """What methods need of these inputs, taken as one calibration sequence."""
    values = {}
    for name in ("norm", "gram", "sample"):
        statistic = STATISTICS[name](inputs.shape[1], 1, inputs.device)
        statistic.update(inputs)
        values[name] = statistic.finish()
    return InputStatistics(values)


@dataclass(frozen=True)
class Outcome:
    """What a method makes of a matrix: its scores and keep mask [out, in], and how far the output moves,
    ``|X (W - W')^T| / |X W^T|``."""

    scores: Float[np.ndarray, "out in"]
    keep: Bool[np.ndarray, "out in"]
    error: float


def outcome(
    method: Method, weight: Float[torch.Tensor, "out in"], stats: InputStatistics, pattern: Pattern, sparsity: float
) -> Outcome:
    """``method`` on a small matrix."""
    pruned = method.prune(weight, stats, pattern, sparsity)
    error = reconstruction_error(weight, pruned.weight, stats["sample"])
    return Outcome(method.score(weight, stats).numpy(), pruned.keep.numpy(), error)
