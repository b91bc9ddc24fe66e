"""N:M on one small matrix whose strong channels sit together, before and after they are reallocated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from core.lazy import torch
from core.lessons.example import dice, small_inputs, small_weights, statistics_of
from core.methods.wanda import Wanda
from core.patterns import NM, Unstructured
from core.stages.base import Choice
from core.stages.reallocation import Importance, Reallocation

ROWS, COLUMNS = 4, 8


@dataclass(frozen=True)
class Reallocated:
    """Wanda's scores [out, in] and what of them N:M keeps, in the order they have and in the order they get.

    ``permutation``: new position -> input. ``retained``: the total score kept, by ``plain`` N:M, in the new order, and by
    each row's best without a pattern, which no order can beat.
    """

    scores: Float[np.ndarray, "out in"]
    plain: Bool[np.ndarray, "out in"]
    keep: Bool[np.ndarray, "out in"]
    permutation: Int[np.ndarray, " in"]
    retained_plain: float
    retained: float
    retained_free: float


def reallocated(seed: int, loudness: float, pattern: NM, lsa: bool, importance: Importance = "sum") -> Reallocated:
    """The first ``m`` inputs have norm ``loudness``, the others 1."""
    generator = dice(seed)
    weight = small_weights(ROWS, COLUMNS, generator)
    norms = torch.ones(COLUMNS)
    norms[: pattern.m] = loudness
    stats = statistics_of(small_inputs(norms, 0.0, generator))
    scores = Wanda().score(weight, stats)
    *_, choice = Reallocation(importance=importance, lsa=lsa).choose(scores, pattern, pattern.sparsity)
    assert isinstance(choice, Choice)
    assert choice.permutation is not None
    free = Unstructured(group="output").keep(scores, pattern.sparsity)
    plain = pattern.keep(scores, pattern.sparsity)
    sums = [float((scores * keep).sum(dtype=torch.float64)) for keep in (plain, choice.keep, free)]
    return Reallocated(scores.numpy(), plain.numpy(), choice.keep.numpy(), choice.permutation.numpy(), *sums)
