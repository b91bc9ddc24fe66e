"""Medians with their spread, lines through measured points, and whether a figure is within its limit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Spread:
    """The median of what was found in several rounds, the smallest and the largest."""

    middle: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, found: Sequence[float]) -> Spread:
        return cls(median(found), min(found), max(found), len(found))

    def text(self, digits: int = 2) -> str:
        """``1.05 (0.99–1.20)``; a single round has no spread."""
        middle = f"{self.middle:.{digits}f}"
        return middle if self.rounds == 1 else f"{middle} ({self.low:.{digits}f}–{self.high:.{digits}f})"


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Round by round, so that what slows the machine for a while slows both."""
    return [n / d for n, d in zip(numerators, denominators, strict=True)]


@dataclass(frozen=True)
class Line:
    """``y = intercept + slope x``, by least squares; ``r2`` is the share of y's variance that it explains."""

    intercept: float
    slope: float
    r2: float

    @classmethod
    def through(cls, x: Sequence[float], y: Sequence[float]) -> Line:
        """Raises ValueError where there are fewer than two different x."""
        if len(set(x)) < 2:
            raise ValueError("A line needs points at two different x at least.")
        mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
        spread = sum((a - mean_x) ** 2 for a in x)
        slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
        intercept = mean_y - slope * mean_x
        left = sum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True))
        whole = sum((b - mean_y) ** 2 for b in y)
        return cls(intercept, slope, 1 - left / whole if whole else 1.0)


def at_most(found: float, limit: float | None) -> str:
    """``1.05: within``; nothing where there is no limit."""
    return "" if limit is None else f"{limit:g}: {'within' if found <= limit else 'above'}"


def at_least(found: float, wanted: float | None) -> str:
    """``2.5: reached``; nothing where nothing is asked for."""
    return "" if wanted is None else f"{wanted:g}: {'reached' if found >= wanted else 'missed'}"
