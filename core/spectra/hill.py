"""Power-law tails of a spectrum: Hill's estimate, and where the tail begins."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, get_args

from jaxtyping import Float

from core.errors import InputError
from core.lazy import torch

Choice = Literal["median", "peak", "ks"]
CHOICES: tuple[Choice, ...] = get_args(Choice)
Bound = Literal["reference", "corrected"]
_BINS = 100
_CHUNK = 2**22  # float64 values held at once while candidates are compared (32 MB)


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


def distances(
    values: Float[torch.Tensor, " n"], alphas: Float[torch.Tensor, " c"], starts: Float[torch.Tensor, " c"]
) -> Float[torch.Tensor, " c"]:
    """``max_j | 1 - (x_j / x_i)^(1 - alpha) - (j - i) / k |`` over the tail, for each candidate i."""
    n, position = len(values), torch.arange(len(values), device=values.device)
    found = []
    for part, alpha in zip(starts.split(max(1, _CHUNK // n)), alphas.split(max(1, _CHUNK // n)), strict=True):
        first = part.long()[:, None]
        beyond = position - first
        ratio = (values / values[first]).clamp(min=1)  # below the tail: masked out
        gap = 1 - ratio ** (1 - alpha[:, None]) - beyond.to(values.dtype) / (n - first)
        found.append(gap.abs().masked_fill(beyond < 0, 0).amax(dim=1))
    return torch.cat(found)


def fit_tail(values: Float[torch.Tensor, " n"], choice: Choice = "peak", bound: Bound = "reference") -> Tail:
    """Fits a power law to the upper part of ascending positive eigenvalues.

    ``choice`` says where the tail begins. ``median``: at index n // 2. ``peak``: the candidate with the smallest KS distance
    near the peak of the histogram of log10 x (100 bins), from 0.95 to 1.5 times the peak's left edge x; with
    ``bound = reference`` the lower end is ``log10(0.95 x)``, compared with x itself, as the AlphaPruning program does.
    ``ks``: the smallest KS distance of all.

    Raises InputError where there are fewer than two different values. Source: AlphaPruning (arXiv 2410.10912), section 3.
    """
    if len(values) < 2 or values[0] == values[-1]:
        raise InputError("A tail needs at least two different eigenvalues above zero; this spectrum has none to fit.")
    alphas = hill(values)
    candidates = _candidates(values, alphas, choice, bound)
    if len(candidates) == 0:
        raise InputError(f"fit = {choice} finds no place for a tail to begin in this spectrum; choose another fit.")
    found = distances(values, alphas[candidates], candidates.to(values.dtype))
    best = int(candidates[found.argmin()])
    return Tail(float(alphas[best]), float(found.min()), float(values[best]), len(values) - best)


def _candidates(values: torch.Tensor, alphas: torch.Tensor, choice: Choice, bound: Bound) -> torch.Tensor:
    """Indices at which the tail may begin; never the last one, whose tail is a single value."""
    indices = torch.arange(len(values) - 1, device=values.device)
    if choice == "median":
        middle = len(values) // 2
        return indices[min(middle, len(values) - 2) :][:1]
    indices = indices[(alphas[:-1] > 1) & alphas[:-1].isfinite()]
    if choice == "ks":
        return indices
    peak = _peak(values)
    low = math.log10(0.95 * peak) if bound == "reference" else 0.95 * peak
    near = (values[indices] >= low) & (values[indices] <= 1.5 * peak)
    return indices[near]


def _peak(values: torch.Tensor) -> float:
    """The left edge of the fullest bin of the histogram of log10 x."""
    logs = values.log10()
    low, high = float(logs[0]), float(logs[-1])
    counts = torch.histc(logs, bins=_BINS, min=low, max=high)
    return float(10 ** (low + int(counts.argmax()) * (high - low) / _BINS))
