"""Relative importance on one small matrix, one of whose inputs speaks in larger numbers, through smaller weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from core.lazy import torch
from core.lessons.example import Outcome, dice, outcome, small_inputs, small_weights, statistics_of
from core.methods.base import Method
from core.methods.magnitude import Magnitude
from core.patterns import Unstructured

ROWS, COLUMNS = 4, 8


@dataclass(frozen=True)
class Shares:
    """``weight`` [out, in] with the sums of its magnitudes, the inputs' norms, the input that was rescaled, and what magnitude
    and the other method make of it, each in its own comparison groups."""

    weight: Float[np.ndarray, "out in"]
    column_sums: Float[np.ndarray, " in"]
    row_sums: Float[np.ndarray, " out"]
    norms: Float[np.ndarray, " in"]
    rescaled: int
    magnitude: Outcome
    relative: Outcome


def shares(seed: int, method: Method, scale: float, sparsity: float) -> Shares:
    """One input times ``scale``, all its weights divided by it, so that the layer computes what it did; the others have norm 1.
    Pruned by magnitude and by ``method``.

    The input is the one whose weights are the least alike, so that one of them means much to it.
    """
    generator = dice(seed)
    weight = small_weights(ROWS, COLUMNS, generator)
    totals = weight.abs().sum(dim=0)
    rescaled = int((weight.abs().amax(dim=0) / totals).argmax())
    weight[:, rescaled] /= scale
    norms = torch.ones(COLUMNS)
    norms[rescaled] = scale
    stats = statistics_of(small_inputs(norms, 0.0, generator))
    both = (outcome(one, weight, stats, Unstructured(), sparsity) for one in (Magnitude(), method))
    magnitude = weight.abs()
    sums = magnitude.sum(dim=0).numpy(), magnitude.sum(dim=1).numpy()
    return Shares(weight.numpy(), *sums, stats["norm"].numpy(), rescaled, *both)
