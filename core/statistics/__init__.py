"""Input statistics: one class a file; every file of this folder is found by itself."""

from core.discovery import import_all
from core.statistics.base import STATISTICS, InputStatistics, Statistic
from core.statistics.collect import AllRead, Collector

import_all(__name__, __path__)

__all__ = ["STATISTICS", "AllRead", "Collector", "InputStatistics", "Statistic"]
