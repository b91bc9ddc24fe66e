"""Where each channel goes."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from dashboard.components.charts.matrix import AT_LEFT, AT_RIGHT
from dashboard.components.charts.palette import CATEGORIES, DASHES


def permutation_lines(permutation: Sequence[int], names: Sequence[str], m: int, ink: str) -> go.Figure:
    """A line for each channel, from its place above to its new place below; in colour and dash of its new group of ``m``.

    ``permutation``: new position -> channel. Places line up with the columns of a matrix drawn above and below.
    """
    lines = [
        {
            "type": "scatter",
            "x": [channel, channel, position, position],
            "y": [1.0, 0.85, 0.15, 0.0],
            "mode": "lines",
            "line": {
                "color": CATEGORIES[position // m % len(CATEGORIES)],
                "dash": DASHES[position // m % len(DASHES)],
                "width": 3,
            },
            "hoverinfo": "skip",
        }
        for position, channel in enumerate(permutation)
    ]
    ends = {"type": "scatter", "mode": "text", "textfont": {"size": 15, "color": ink}, "hoverinfo": "skip"}
    places = list(range(len(names)))
    top = ends | {"x": places, "y": [1.18] * len(names), "text": list(names)}
    bottom = ends | {"x": places, "y": [-0.18] * len(names), "text": [names[channel] for channel in permutation]}
    hidden = {"visible": False, "fixedrange": True}
    layout = {
        "height": 170,
        "margin": {"l": AT_LEFT, "r": AT_RIGHT, "t": 0, "b": 0},
        "showlegend": False,
        "dragmode": False,
        "xaxis": {"range": [-0.53, len(names) - 0.47], **hidden},
        "yaxis": {"range": [-0.35, 1.35], **hidden},
    }
    return go.Figure([*lines, top, bottom], layout)
