"""Shape and norm metrics of a spectrum, under WeightWatcher's names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from jaxtyping import Float

from core.lazy import torch
from core.spectra.esd import nonzero
from core.spectra.hill import Tail
from core.spectra.marchenko_pastur import Bulk

MetricName = Literal[
    "alpha",
    "D",
    "alpha_weighted",
    "log_alpha_norm",
    "norm",
    "log_norm",
    "spectral_norm",
    "log_spectral_norm",
    "stable_rank",
    "entropy",
    "mp_softrank",
    "rand_distance",
]
OF_THE_TAIL: frozenset[MetricName] = frozenset({"alpha", "D", "alpha_weighted", "log_alpha_norm"})
"""Those that depend on where the tail is taken to begin."""


class Metric(NamedTuple):
    """What a metric is called, how it is computed, and which way it points: +1 where more of it bears more pruning.

    Alpha-hat and the log alpha norm, which approximate each other, point with alpha.
    """

    title: str
    formula: str
    direction: int

    @property
    def described(self) -> str:
        """The title with the direction."""
        return f"{self.title} ({'higher' if self.direction > 0 else 'lower'}: prune more)"


METRICS: Mapping[str, Metric] = {
    "alpha": Metric("Alpha", "exponent of the tail", 1),
    "D": Metric("KS distance", "max |empirical - fitted| over the tail", 1),
    "alpha_weighted": Metric("Alpha-hat", "alpha · log10 λ_max", 1),
    "log_alpha_norm": Metric("Log alpha norm", "log10 Σ λ^alpha", 1),
    "norm": Metric("Squared Frobenius norm", "Σ λ", -1),
    "log_norm": Metric("Log norm", "log10 Σ λ", -1),
    "spectral_norm": Metric("Spectral norm", "λ_max", -1),
    "log_spectral_norm": Metric("Log spectral norm", "log10 λ_max", -1),
    "stable_rank": Metric("Stable rank", "Σ λ / λ_max", 1),
    "entropy": Metric("Matrix entropy", "-Σ p log p / log n, p = λ / Σ λ", 1),
    "mp_softrank": Metric("MP soft rank", "upper bulk edge / λ_max", 1),
    "rand_distance": Metric("Random distance", "Jensen–Shannon distance to the spectrum of the shuffled entries", -1),
}


def metrics(values: Float[torch.Tensor, " n"], tail: Tail | None, bulk: Bulk | None) -> dict[str, float]:
    """Every metric that this spectrum has by itself (so without the random distance); those of the tail or bulk only where
    there is one. ``values``: eigenvalues."""
    positive = nonzero(values)
    if len(positive) == 0:
        return {}
    found = _of_all(values, positive, bulk)
    return found if tail is None else found | of_tail(positive, tail)


def of_tail(positive: Float[torch.Tensor, " m"], tail: Tail) -> dict[str, float]:
    """The metrics ``OF_THE_TAIL``. ``positive``: all eigenvalues above 0, ascending."""
    log_largest = float(positive[-1].log10())
    # The largest is taken out of the sum, so that a steep tail cannot overflow.
    scaled = ((positive / positive[-1]) ** tail.alpha).sum().log10()
    return {
        "alpha": tail.alpha,
        "D": tail.distance,
        "alpha_weighted": tail.alpha * log_largest,
        "log_alpha_norm": float(scaled) + tail.alpha * log_largest,
    }


def _of_all(values: torch.Tensor, positive: torch.Tensor, bulk: Bulk | None) -> dict[str, float]:
    total, largest = float(positive.sum()), float(positive[-1])
    shares = positive / total
    found = {
        "norm": total,
        "log_norm": float(torch.tensor(total).log10()),
        "spectral_norm": largest,
        "log_spectral_norm": float(positive[-1].log10()),
        "stable_rank": total / largest,
    }
    if len(values) > 1:
        entropy = -(shares * shares.log()).sum() / torch.tensor(float(len(values))).log()
        found["entropy"] = float(entropy)
    if bulk is not None:
        found["mp_softrank"] = bulk.high / largest
    return found
