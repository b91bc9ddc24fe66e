"""Magnitude against Wanda on one small matrix, one of whose inputs is loud."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from core.lazy import torch
from core.lessons.example import Outcome, dice, outcome, small_inputs, small_weights, statistics_of
from core.methods.magnitude import Magnitude
from core.methods.wanda import Wanda
from core.patterns import Unstructured

ROWS, COLUMNS = 4, 8


@dataclass(frozen=True)
class Outliers:
    """``weight`` [out, in], the inputs' norms, which of them is loud, and what both methods make of it."""

    weight: Float[np.ndarray, "out in"]
    norms: Float[np.ndarray, " in"]
    loud: int
    magnitude: Outcome
    wanda: Outcome


def outliers(seed: int, loudness: float, sparsity: float, within: str = "output") -> Outliers:
    """All inputs have norm 1 but one, which has ``loudness``; both methods compare ``within`` the same groups.

    The loud input is the one whose weights magnitude prunes most of, so that there is something to see.
    """
    generator = dice(seed)
    weight = small_weights(ROWS, COLUMNS, generator)
    pattern = Unstructured.model_validate({"group": within})
    loud = int((~pattern.keep(weight.abs(), 0.5)).sum(dim=0).argmax())
    norms = torch.ones(COLUMNS)
    norms[loud] = loudness
    stats = statistics_of(small_inputs(norms, 0.0, generator))
    magnitude, wanda = (outcome(method, weight, stats, pattern, sparsity) for method in (Magnitude(), Wanda()))
    return Outliers(weight.numpy(), stats["norm"].numpy(), loud, magnitude, wanda)
