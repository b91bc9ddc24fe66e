"""Where the zeros are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

_ACHIEVED, _TARGET = "#0072B2", "#D55E00"
_MARGIN = {"l": 10, "r": 10, "t": 10, "b": 45}


def sparsity_by_block(table: pd.DataFrame) -> go.Figure:
    """Bars of each block's achieved sparsity with its target as a mark; ``table`` has one row a block."""
    achieved = {
        "type": "bar",
        "x": table.block,
        "y": table.sparsity,
        "name": "achieved",
        "marker": {"color": _ACHIEVED},
        "hovertemplate": "block %{x}<br>achieved %{y:.4%}<extra></extra>",
    }
    target = {
        "type": "scatter",
        "x": table.block,
        "y": table.target,
        "name": "target",
        "mode": "markers",
        "marker": {"symbol": "line-ew", "size": 16, "line": {"width": 3, "color": _TARGET}},
        "hovertemplate": "block %{x}<br>target %{y:.4%}<extra></extra>",
    }
    layout = {
        "height": 300,
        "margin": _MARGIN,
        "legend": {"orientation": "h", "y": 1.12, "x": 0},
        "bargap": 0.25,
        "xaxis": {"title": "Decoder block", "range": [-0.6, len(table) - 0.4]},
        "yaxis": {"title": "Sparsity (share pruned)", "range": [0, 1], "tickformat": ".0%"},
    }
    return go.Figure([achieved, target], layout)


def line_histogram(sparsity: np.ndarray, kind: str) -> go.Figure:
    """How many rows (outputs) or columns (inputs) of a module have which sparsity."""
    counts, edges = np.histogram(sparsity, bins=40, range=(0, 1))
    bars = {
        "type": "bar",
        "x": (edges[:-1] + edges[1:]) / 2,
        "y": counts,
        "width": edges[1] - edges[0],
        "marker": {"color": _ACHIEVED},
        "customdata": np.stack([edges[:-1], edges[1:]], axis=1),
        "hovertemplate": "%{customdata[0]:.1%} to %{customdata[1]:.1%} pruned<br>%{y} " + kind + "<extra></extra>",
    }
    layout = {
        "height": 260,
        "margin": _MARGIN,
        "bargap": 0,
        "xaxis": {"title": f"Sparsity of one of the {len(sparsity):,} {kind}", "tickformat": ".0%", "range": [0, 1]},
        "yaxis": {"title": f"Number of {kind}"},
    }
    return go.Figure(bars, layout)
