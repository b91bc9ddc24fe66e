"""How the error of each block went while it was tuned."""

from __future__ import annotations

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard.components.charts.palette import SEQUENTIAL


def tuning_lines(curves: pd.DataFrame) -> go.Figure:
    """One line a block, in the order of depth from the light to the strong end of the scale; ``curves``: ``tuning_curves``."""
    blocks = sorted(curves.block.unique())
    traces: list[dict[str, Any]] = []
    for number, block in enumerate(blocks):
        one = curves[curves.block == block]
        colour = SEQUENTIAL[2 + round(7 * number / max(1, len(blocks) - 1))][1]
        trained = [f", training {error:.4g}" if error == error else "" for error in one.training]
        traces.append(
            {
                "type": "scatter",
                "x": one.epoch.tolist(),
                "y": one.share.tolist(),
                "name": f"Block {block}",
                "mode": "lines+markers",
                "line": {"color": colour, "width": 2},
                "marker": {"size": 6},
                "customdata": [f"{held:.4g}{words}" for held, words in zip(one.held_out, trained, strict=True)],
                "hovertemplate": f"Block {block}, epoch %{{x}}: %{{y:.1%}}<br>held out %{{customdata}}<extra></extra>",
            }
        )
    font = {"size": 15}
    steps = max(1, round(int(curves.epoch.max()) / 10))
    axis = {"tickfont": {"size": 14}}
    layout: dict[str, Any] = {
        "height": 300,
        "margin": {"l": 60, "r": 10, "t": 10, "b": 45},
        "showlegend": False,
        "hovermode": "closest",
        "xaxis": {**axis, "title": {"text": "Epoch (0: untuned)", "font": font}, "dtick": steps},
        "yaxis": {**axis, "title": {"text": "Held-out error, share of untuned", "font": font}, "tickformat": ".0%"},
    }
    return go.Figure(traces, layout)
