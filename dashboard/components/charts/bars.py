"""Bars of which some count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from dashboard.components.charts.palette import CATEGORIES


def kept_bars(values: Sequence[float], kept: int, across: str, up: str, names: tuple[str, str]) -> go.Figure:
    """Numbered bars, the first ``kept`` filled, the others hatched; ``names``: what both kinds are called."""

    def some(first: int, last: int, name: str, pattern: str) -> dict[str, Any]:
        shown = list(values[first:last])
        return {
            "type": "bar", "x": list(range(first + 1, last + 1)), "y": shown, "name": name,
            "marker": {"color": CATEGORIES[0], "pattern": {"shape": pattern, "fillmode": "replace"}},
            "text": [f"{value:.2f}" for value in shown], "textposition": "outside", "textfont": {"size": 14},
            "cliponaxis": False, "hoverinfo": "skip",
        }  # fmt: skip

    layout = {
        "height": 250,
        "margin": {"l": 60, "r": 10, "t": 10, "b": 45},
        "bargap": 0.25,
        "legend": {"orientation": "h", "y": 1.08, "yanchor": "bottom", "x": 0, "font": {"size": 14}},
        "xaxis": {"title": {"text": across, "font": {"size": 15}}, "dtick": 1, "tickfont": {"size": 14}},
        "yaxis": {"title": {"text": up, "font": {"size": 15}}, "tickfont": {"size": 14}},
    }
    return go.Figure([some(0, kept, names[0], ""), some(kept, len(values), names[1], "/")], layout)
