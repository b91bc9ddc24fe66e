"""The Marchenko–Pastur law: what the spectrum of a random matrix looks like, fitted to the bulk of a real one."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from core.lazy import torch

_BANDWIDTH = 0.1
_POINTS = 1000
_BEYOND = 0.5  # how far past the largest eigenvalue the density is looked at
_RESOLVED = 3.0  # a bulk that ends within so many kernel widths of 0 is blurred by them
_THIN = 0.01  # a density below this is no bulk


class Bulk(NamedTuple):
    """The random bulk of a spectrum: variance of the entries that would give it, and its edges."""

    variance: float
    low: float
    high: float


def edges(rows: int, columns: int, variance: float) -> tuple[float, float]:
    """``variance * (sqrt(N) ± sqrt(M))^2`` for N × M independent entries: where the eigenvalues of W^T W lie."""
    larger, smaller = max(rows, columns) ** 0.5, min(rows, columns) ** 0.5
    return variance * (larger - smaller) ** 2, variance * (larger + smaller) ** 2


def density(x: Float[np.ndarray, " n"], rows: int, columns: int, variance: float) -> Float[np.ndarray, " n"]:
    """``sqrt((high - x)(x - low)) / (2 pi variance M x)`` between the edges, 0 elsewhere; M the smaller side."""
    low, high = edges(rows, columns, variance)
    inside: np.ndarray = np.sqrt(((high - x) * (x - low)).clip(min=0))
    return inside / (2 * np.pi * variance * min(rows, columns) * x)


def fit_bulk(values: Float[torch.Tensor, " n"], rows: int, columns: int) -> Bulk:
    """The law whose density is closest to the spectrum's, in squared differences, where the spectrum is dense.

    ``values``: eigenvalues of W^T W above zero, ascending. They are scaled to a mean of 1; their density is that of linear
    kernels of width 0.1 at 1,000 points; the law's deviation is searched between 0.05 and 2 times that of a law reaching to
    the largest. Square matrices are fitted by their singular values, whose law is a quarter circle.

    Source: WeightWatcher's ``mp_fit``, to whose ``mp_softrank`` the upper edge over the largest eigenvalue is equal. Deviations:
    the quarter circle has the deviation's radius (WeightWatcher's is that of deviation 1 whatever is fitted); and where a few
    eigenvalues are so large that the kernels would blur the scaled bulk, it is the law whose median is the spectrum's.
    """
    x = values.numpy(force=True)
    mean, larger = float(x.mean()), max(rows, columns)
    by_median = float(np.median(x)) / _median(rows, columns)
    if edges(rows, columns, by_median / mean)[1] < _RESOLVED * _BANDWIDTH:
        return Bulk(by_median, *edges(rows, columns, by_median))
    at, height = _dense_part(np.sqrt(x / mean) if rows == columns else x / mean)
    ratio = (min(rows, columns) / larger) ** 0.5
    reach = (float(x[-1]) / mean) ** 0.5 / (1 + ratio)
    variance = _search(at, height, reach, ratio) ** 2 * mean / larger
    return Bulk(variance, *edges(rows, columns, variance))


def _dense_part(x: Float[np.ndarray, " n"]) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Where the density of ascending values is not thin, and how high it is there.

    A linear kernel's sum over sorted values is made of two of their partial sums.
    """
    at = np.linspace(0, x[-1] + _BEYOND, _POINTS)
    sums = np.concatenate([[0.0], x.cumsum()])
    left, middle, right = x.searchsorted(at - _BANDWIDTH), x.searchsorted(at), x.searchsorted(at + _BANDWIDTH)
    rising = (middle - left) * (_BANDWIDTH - at) + sums[middle] - sums[left]
    falling = (right - middle) * (_BANDWIDTH + at) - sums[right] + sums[middle]
    height = (rising + falling) / (len(x) * _BANDWIDTH**2)
    dense = height > _THIN
    return at[dense], height[dense]


def _search(at: np.ndarray, height: np.ndarray, reach: float, ratio: float) -> float:
    """The deviation of the closest law among those whose bulk holds the density's peak and ends within what is seen of it.

    First over the whole range, then ever closer around the best.
    """
    peak, best = at[height.argmax()], reach
    step = 0.01 * reach
    tried = np.arange(0.05, 2, 0.01) * reach
    for finer in (1.0, 0.1, 0.01, 0.0):
        low, high = (0 * tried, 2 * tried) if ratio == 1 else _support(tried, ratio)
        tried = tried[(low <= peak) & (peak <= high) & (high <= at[-1])]
        if len(tried):
            best = tried[_misfit(at, height, tried, ratio).argmin()]
        tried = best + np.linspace(-1, 1, 41) * step * finer
    return float(best)


def _support(deviation: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    return (deviation * (1 - ratio)) ** 2, (deviation * (1 + ratio)) ** 2


def _misfit(at: np.ndarray, height: np.ndarray, deviations: np.ndarray, ratio: float) -> Float[np.ndarray, " tried"]:
    """The sum of squared differences between the density and the law of each deviation, less what is the same for all."""
    variance = deviations**2
    if ratio == 1:
        law, scale = _roots(at, -2 * deviations, 2 * deviations), 1 / (np.pi * variance)
    else:
        law, scale = _roots(at, *_support(deviations, ratio)), 1 / (2 * np.pi * variance * ratio**2)
        law /= at.clip(min=1e-30)
    misfit: np.ndarray = scale**2 * np.einsum("ij,ij->i", law, law) - 2 * scale * (law @ height)
    return misfit


def _roots(at: np.ndarray, low: np.ndarray, high: np.ndarray) -> Float[np.ndarray, "tried points"]:
    """``sqrt((high - at)(at - low))``, 0 outside."""
    inside = np.outer(high + low, at)
    inside -= at**2
    inside -= (high * low)[:, None]
    np.clip(inside, 0, None, out=inside)
    roots: np.ndarray = np.sqrt(inside, out=inside)
    return roots


@lru_cache(maxsize=64)
def _median(rows: int, columns: int) -> float:
    """The median of the law at variance 1."""
    from scipy.integrate import quad
    from scipy.optimize import brentq

    low, high = edges(rows, columns, 1.0)
    smaller = min(rows, columns)

    def mass(x: float) -> float:
        below, _ = quad(lambda t: ((high - t) * (t - low)) ** 0.5 / (2 * np.pi * smaller * t), low, x)
        return float(below)

    return float(brentq(lambda x: mass(x) - 0.5, low, high))
