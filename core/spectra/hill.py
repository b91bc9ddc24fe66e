"""Power-law tails of a spectrum: Hill's estimate, and where the tail begins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, NamedTuple, get_args

from jaxtyping import Float

from core.errors import InputError
from core.lazy import torch

Choice = Literal["median", "peak", "ks"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
Bound = Literal["reference", "corrected"]
FITS: Mapping[str, tuple[Choice, Bound]] = {
    "peak": ("peak", "reference"),
    "peak_corrected": ("peak", "corrected"),
    "median": ("median", "reference"),
    "ks": ("ks", "reference"),
}
"""Every way to say where a tail begins, by name."""
_BINS = 100
_AT_ONCE = 128  # candidates compared at a time: few enough that what is held of them stays in the processor's cache


def fit_name(choice: Choice, bound: Bound) -> str:
    return "peak_corrected" if (choice, bound) == FITS["peak_corrected"] else choice


class Tail(NamedTuple):
    """The tail ``p(x) ~ x^-alpha`` of a spectrum above ``xmin``."""

    alpha: float
    distance: float
    """KS distance between the tail and the fit, D."""
    xmin: float
    size: int
    """How many eigenvalues the tail holds."""

    @property
    def standard_error(self) -> float:
        """Of alpha: ``(alpha - 1) / sqrt(size)`` (Clauset et al., arXiv 0706.1062, equation 3.2)."""
        return (self.alpha - 1) / math.sqrt(self.size)


def hill(values: Float[torch.Tensor, " n"]) -> Float[torch.Tensor, " n"]:
    """``alpha_i = 1 + k / (sum log x[i:] - k log x_i)`` with ``k = n - i``, for a tail that begins at each value."""
    logs = values.log()
    sizes = torch.arange(len(values), 0, -1, dtype=values.dtype, device=values.device)
    suffix: torch.Tensor = logs.flip(0).cumsum(0).flip(0)
    return 1 + sizes / (suffix - sizes * logs)


def distances(values: Float[torch.Tensor, " n"], alphas: Float[torch.Tensor, " n"]) -> Float[torch.Tensor, " n"]:
    """``max_j | (x_j / x_i)^(1 - alpha_i) - (n - j) / (n - i) |`` over the tail j >= i, for a tail that begins at each i.

    The two terms are what the fit and the spectrum say lies above x_j.
    """
    logs, n = values.log(), len(values)
    sizes = torch.arange(n, 0, -1, dtype=values.dtype, device=values.device)
    found = torch.empty_like(values)
    for i in range(0, n, _AT_ONCE):
        some = slice(i, i + _AT_ONCE)
        gap = (logs[i:] - logs[some, None]).mul_(1 - alphas[some, None]).exp_()
        gap -= sizes[i:] / sizes[some, None]
        found[some] = gap.abs_().triu_().amax(dim=1)  # triu: nothing from below the tail
    return found


class Starts(NamedTuple):
    """Every place where the tail of a spectrum may begin, and how well a power law fits from there on."""

    values: Float[torch.Tensor, " n"]
    alphas: Float[torch.Tensor, " n"]
    distances: Float[torch.Tensor, " n"]

    def tail(self, start: int) -> Tail:
        """The tail that begins at the value with this index."""
        alpha, distance = float(self.alphas[start]), float(self.distances[start])
        return Tail(alpha, distance, float(self.values[start]), len(self.values) - start)


def all_starts(values: Float[torch.Tensor, " n"]) -> Starts:
    """What all fits of one spectrum share. ``values``: ascending and positive."""
    alphas = hill(values)
    return Starts(values, alphas, distances(values, alphas))


def fit_tail(values: Float[torch.Tensor, " n"], choice: Choice = "peak", bound: Bound = "reference") -> Tail:
    """Fits a power law to the upper part of ascending positive eigenvalues, as ``choose`` says."""
    return choose(all_starts(values), choice, bound)


def choose(starts: Starts, choice: Choice = "peak", bound: Bound = "reference") -> Tail:
    """The power law that fits from one of all places on.

    ``choice`` says where the tail begins. ``median``: at index n // 2. ``peak``: the candidate with the smallest KS distance
    near the peak of the histogram of log10 x (100 bins), from 0.95 to 1.5 times the peak's left edge x; with
    ``bound = reference`` the lower end is ``log10(0.95 x)``, compared with x itself, as the AlphaPruning program does.
    ``ks``: the smallest KS distance of all.

    Raises InputError where there are fewer than two different values. Source: AlphaPruning (arXiv 2410.10912), section 3.
    """
    values = starts.values
    if len(values) < 2 or values[0] == values[-1]:
        raise InputError("A tail needs at least two different eigenvalues above zero; this spectrum has none to fit.")
    candidates = _candidates(starts, choice, bound)
    if len(candidates) == 0:
        raise InputError(f"fit = {choice} finds no place for a tail to begin in this spectrum; choose another fit.")
    return starts.tail(int(candidates[starts.distances[candidates].argmin()]))


def _candidates(starts: Starts, choice: Choice, bound: Bound) -> torch.Tensor:
    """Indices at which the tail may begin; never the last one, whose tail is a single value."""
    values, alphas = starts.values[:-1], starts.alphas[:-1]
    possible = (alphas > 1) & alphas.isfinite()
    if choice == "median":
        middle = min(len(starts.values) // 2, len(values) - 1)
        return possible[middle : middle + 1].nonzero()[:, 0] + middle
    if choice == "peak":
        peak = _peak(starts.values)
        low = math.log10(0.95 * peak) if bound == "reference" else 0.95 * peak
        possible &= (values >= low) & (values <= 1.5 * peak)
    return possible.nonzero()[:, 0]


def _peak(values: torch.Tensor) -> float:
    """The left edge of the fullest bin of the histogram of log10 x."""
    logs = values.log10()
    low, high = float(logs[0]), float(logs[-1])
    counts = torch.histc(logs, bins=_BINS, min=low, max=high)
    return float(10 ** (low + int(counts.argmax()) * (high - low) / _BINS))
