"""One module under one method: its scores, its mask, and how the two belong together."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from pydantic import BaseModel

from core.errors import InputError
from core.lazy import torch
from core.methods.base import Method
from core.patterns import Pattern
from core.scoring.comparison import comparison, cuts
from core.scoring.histogram import Histogram, histogram
from core.statistics import InputStatistics


class CutFacts(BaseModel, frozen=True):
    """Of the cuts of all groups where one is finite: the lowest, the middle one, the highest."""

    groups: int
    low: float
    median: float
    high: float
    separates: bool
    """Whether the scores alone decide the mask."""


class ScoreFacts(BaseModel, frozen=True):
    """What is known of a module's scores as a whole. ``note`` says why there are none."""

    note: str = ""
    cut: CutFacts | None = None
    histogram: Histogram | None = None


@dataclass(frozen=True)
class Scored:
    """Scores and keep mask [out, in] of a module under a method; no scores where it has none of a whole matrix."""

    scores: Float[torch.Tensor, "out in"] | None
    keep: Bool[torch.Tensor, "out in"]
    facts: ScoreFacts


def scored(
    method: Method,
    weight: Float[torch.Tensor, "out in"],
    stats: InputStatistics,
    pattern: Pattern,
    sparsity: float,
    known: Bool[torch.Tensor, "out in"] | None = None,
    order: Int[torch.Tensor, " in"] | None = None,
) -> Scored:
    """``method`` on a dense ``weight``. ``known``: the mask, where it was chosen before, and the order of inputs in which its
    pattern holds; else the method chooses one, at ``sparsity``. Raises InputError where it cannot.
    """
    keep = method.prune(weight, stats, pattern, sparsity).keep if known is None else known
    try:
        scores = method.score(weight, stats)
    except InputError as reason:
        return Scored(None, keep, ScoreFacts(note=str(reason)))
    compared, cut = comparison(method, pattern, order), None
    if compared is not None:
        found = cuts(scores, keep, compared)
        finite = found.values[found.values.isfinite()].sort().values
        if len(finite):
            low, median, high = (float(finite[at]) for at in (0, len(finite) // 2, -1))
            cut = CutFacts(groups=len(found.values), low=low, median=median, high=high, separates=found.separates)
    return Scored(scores, keep, ScoreFacts(cut=cut, histogram=histogram(scores, keep)))
