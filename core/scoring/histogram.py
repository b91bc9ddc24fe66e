"""How the scores of a matrix are distributed, kept and pruned apart."""

from __future__ import annotations

from jaxtyping import Bool, Float
from pydantic import BaseModel

from core.lazy import torch

_BINS = 80
_BELOW_MEDIAN = 1e-3
_SAMPLE = 2**20


class Histogram(BaseModel, frozen=True):
    """Scores counted in bins that are even on a log axis; the first bin holds everything below its end."""

    edges: tuple[float, ...]
    kept: tuple[int, ...]
    pruned: tuple[int, ...]


def histogram(
    scores: Float[torch.Tensor, "out in"], keep: Bool[torch.Tensor, "out in"], bins: int = _BINS
) -> Histogram | None:
    """Counts of kept and pruned scores, from a thousandth of the median to the highest; None where all are zero."""
    high = float(scores.max())
    if high <= 0:
        return None
    sample = scores.flatten()[:: -(-scores.numel() // _SAMPLE)]
    low = min(_BELOW_MEDIAN * float(sample[sample > 0].median()) if (sample > 0).any() else high, high / 10)
    edges = torch.logspace(torch.tensor(low).log10(), torch.tensor(high).log10(), bins + 1, dtype=torch.float64)
    edges[-1] = high  # what lies beyond by rounding is counted in the last bin
    inner = edges[1:-1].to(scores)
    counts = [torch.bincount(torch.bucketize(scores[chosen], inner), minlength=bins) for chosen in (keep, ~keep)]
    kept, pruned = (tuple(map(int, count)) for count in counts)
    return Histogram(edges=tuple(map(float, edges)), kept=kept, pruned=pruned)
