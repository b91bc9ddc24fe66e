"""Why one weight stays or goes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from core.methods.base import Method
from core.scoring.comparison import Comparison


@dataclass(frozen=True)
class Place:
    """Where a weight's score stands among those it competes with."""

    score: float
    cut: float
    """The lowest score that stays, if exactly as many stay as the mask keeps; infinite where none does."""
    rank: int
    """1 for the highest; equal scores share a rank."""
    size: int
    """Of its group."""
    stay: int
    """How many of the group the mask keeps."""
    kept: bool

    @property
    def by_score(self) -> bool:
        """Whether the score explains what the mask does."""
        return self.score >= self.cut if self.kept else self.score <= self.cut


def place(
    scores: Float[np.ndarray, "out in"],
    keep: Bool[np.ndarray, "out in"],
    row: int,
    column: int,
    compared: Comparison,
    cut: float | None = None,
) -> Place:
    """The place of the weight at ``row``, ``column``. ``cut``: of its group, where that is known."""
    rows, columns = compared.rivals(row, column, (scores.shape[0], scores.shape[1]))
    every = len(columns) == scores.shape[1] and compared.order is None
    group, kept = (part[rows] if every else part[rows][:, columns.numpy()] for part in (scores, keep))
    score, stay = float(scores[row, column]), int(np.count_nonzero(kept))
    if cut is None:
        cut = float(np.partition(group, group.size - stay, axis=None)[group.size - stay]) if stay else math.inf
    return Place(
        score=score,
        cut=cut,
        rank=1 + int(np.count_nonzero(group > score)),
        size=group.size,
        stay=stay,
        kept=bool(keep[row, column]),
    )


def sentence(method: Method, weight: float, norm: float, found: Place, compared: Comparison, decided: str) -> str:
    """Why the weight stays or goes. ``decided``: what else took part in the mask, for where the score does not explain it."""
    fate = "kept" if found.kept else "pruned"
    score = f"{method.working(weight, norm)} → {found.score:.3g}"
    if found.stay == 0:
        return f"{score}; nothing of {compared.whose} stays: pruned."
    if found.stay == found.size:
        return f"{score}; nothing of {compared.whose} goes: kept."
    cut = f"the cut of {compared.whose} is {found.cut:.3g}"
    if not found.by_score:
        return f"{score}; {cut}, so by this score alone it would be {'pruned' if found.kept else 'kept'}. But {decided}: {fate}."
    tie = " (of equal scores the first go)" if found.score == found.cut and not found.kept else ""
    return f"{score}; {cut}: {fate}{tie}."
