"""The Marchenko–Pastur law: what the spectrum of a random matrix looks like, fitted to the bulk of a real one."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from core.lazy import torch


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
    """The law whose median is the spectrum's: spikes above the bulk, however high, hardly move it.

    ``values``: eigenvalues of W^T W above zero.
    """
    variance = float(values.median()) / _median(rows, columns)
    low, high = edges(rows, columns, variance)
    return Bulk(variance, low, high)


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
