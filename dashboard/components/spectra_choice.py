"""What the Spectra page offers to look at, in words."""

from __future__ import annotations

import pandas as pd

from core.spectra.hill import FITS
from core.spectra.metrics import METRICS
from dashboard.components.charts.grid import Quantity

METRIC_TITLES = {name: metric.title for name, metric in METRICS.items()}
_FIT_WORDS = {"peak": "Peak", "peak_corrected": "Peak, corrected", "median": "Median", "ks": "KS (smallest distance)"}
FIT_TITLES = {name: _FIT_WORDS[name] for name in FITS}


def explained(metric: str) -> str:
    """What a metric is, and which way it points."""
    if metric == "alpha":
        return "Alpha is the exponent of the fitted tail: low is heavy-tailed (well trained, prune less), high is light-tailed."
    known = METRICS[metric]
    more = "higher" if known.direction > 0 else "lower"
    return f"{known.title}: {known.formula}. The {more}, the more pruning a module is taken to bear."


def quantity_of(metric: str, values: pd.Series, change: bool = False) -> Quantity:
    """How the grid shows a metric: alone from dark to light, its change in two colours around 0.

    Colours end where 2 % of the modules lie beyond, so that a few outliers do not leave all others alike.
    """
    title = METRIC_TITLES[metric]
    if change:
        reach = float(values.abs().quantile(0.96)) or 1.0
        return Quantity("change", f"{title}, change", "+.3g", diverging=True, low=-reach, high=reach)
    return Quantity(metric, title, ".4g", low=float(values.quantile(0.02)), high=float(values.quantile(0.98)))
