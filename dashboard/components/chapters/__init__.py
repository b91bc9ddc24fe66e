"""The chapters of the Learn page, in the order in which they are read; one file each."""

from __future__ import annotations

from dashboard.components.chapters import (
    compensation,
    groups,
    outliers,
    rank,
    shares,
    surprise,
    survivors,
    swaps,
    tails,
)
from dashboard.components.chapters.base import Chapter

_IN_ORDER = (outliers, shares, groups, compensation, tails, swaps, rank, surprise, survivors)
CHAPTERS: dict[str, Chapter] = {file.CHAPTER.name: file.CHAPTER for file in _IN_ORDER}
