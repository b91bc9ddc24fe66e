"""A few lines over one axis, told apart by colour, symbol and dash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from dashboard.components.charts.palette import CATEGORIES, DASHES, SYMBOLS


class Line(NamedTuple):
    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    symbols: bool = True


def lines(
    drawn: Sequence[Line],
    across: str,
    up: str,
    mark: float | None = None,
    height: int = 300,
    log: bool = False,
    whole: bool = True,
) -> go.Figure:
    """``across`` and ``up`` name the axes; ``mark``: where a dotted line stands; ``log``: both axes are; ``whole``: the upward
    one begins at 0."""
    traces = [
        {
            "type": "scatter",
            "x": list(line.x),
            "y": list(line.y),
            "name": line.name,
            "mode": "lines+markers" if line.symbols else "lines",
            "line": {"color": CATEGORIES[number], "dash": DASHES[number], "width": 3},
            "marker": {"symbol": SYMBOLS[number], "size": 9},
            "hovertemplate": f"%{{x:.4g}}: %{{y:.4g}}<extra>{line.name}</extra>",
        }
        for number, line in enumerate(drawn)
    ]
    kind = "log" if log else "linear"
    font = {"title": {"font": {"size": 15}}, "tickfont": {"size": 14}}
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 60, "r": 10, "t": 10, "b": 45},
        "showlegend": len(drawn) > 1,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "font": {"size": 14}},
        "xaxis": {**font, "title": {"text": across, "font": {"size": 15}}, "type": kind},
        "yaxis": {
            **font,
            "title": {"text": up, "font": {"size": 15}},
            "type": kind,
            "rangemode": "tozero" if whole and not log else "normal",
        },
        "shapes": [] if mark is None else [_upright(mark)],
    }
    return go.Figure(traces, layout)


def _upright(x: float) -> dict[str, Any]:
    ends = {"x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper"}
    return {"type": "line", **ends, "line": {"dash": "dot", "width": 2, "color": CATEGORIES[7]}}
