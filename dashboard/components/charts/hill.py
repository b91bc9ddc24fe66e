"""Hill's estimate for every place where a tail may begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from core.spectra.hill import Tail
from dashboard.components.charts.palette import CATEGORIES, SYMBOLS

_HIGHEST = 8.0
"""Alphas of a handful of eigenvalues go far beyond what is worth seeing."""


def hill_plot(
    shares: Sequence[float], alphas: Sequence[float], fits: Mapping[str, Tail], count: int, share: float
) -> go.Figure:
    """Alpha over the share of the ``count`` eigenvalues in the tail; marks where the ``fits`` begin it, a line at ``share``."""
    curve = {
        "type": "scatter", "x": list(shares), "y": list(alphas), "mode": "lines", "name": "Hill's estimate",
        "line": {"color": CATEGORIES[0], "width": 3},
        "hovertemplate": "tail of %{x:.1%}<br>alpha %{y:.3f}<extra></extra>",
    }  # fmt: skip
    marks = [
        {
            "type": "scatter", "x": [tail.size / count], "y": [tail.alpha], "mode": "markers", "name": name,
            "marker": {"symbol": SYMBOLS[number], "size": 13, "color": CATEGORIES[number]},
            "hovertemplate": f"{name}<br>tail of %{{x:.1%}}<br>alpha %{{y:.3f}}<extra></extra>",
        }
        for number, (name, tail) in enumerate(fits.items(), start=1)
    ]  # fmt: skip
    shown = [alpha for alpha in (*alphas, *(tail.alpha for tail in fits.values())) if alpha <= _HIGHEST]
    font = {"size": 15}
    line = {"dash": "dot", "width": 2, "color": CATEGORIES[7]}
    layout: dict[str, Any] = {
        "height": 300,
        "margin": {"l": 60, "r": 10, "t": 10, "b": 45},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 14}},
        "xaxis": {"title": {"text": "Share of the eigenvalues in the tail", "font": font}, "tickformat": ".0%"},
        "yaxis": {"title": {"text": "α", "font": font}, "range": [1, 1.05 * max(shown, default=2.0)]},
        "shapes": [{"type": "line", "x0": share, "x1": share, "y0": 0, "y1": 1, "yref": "paper", "line": line}],
    }
    return go.Figure([curve, *marks], layout)
