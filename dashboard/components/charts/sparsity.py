"""Where the zeros are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from dashboard.components.charts import palette

_ACHIEVED, _TARGET = palette.CATEGORIES[0], palette.CATEGORIES[1]
_MARGIN = {"l": 10, "r": 10, "t": 10, "b": 45}


def target_bars(names: Sequence[str], achieved: Sequence[float], target: Sequence[float], axis: str) -> go.Figure:
    """Bars of the achieved sparsity with its target as a mark across each; ``axis`` says what ``names`` are."""
    bars = {
        "type": "bar",
        "x": list(names),
        "y": list(achieved),
        "name": "achieved",
        "marker": {"color": _ACHIEVED},
        "hovertemplate": "%{x}<br>achieved %{y:.4%}<extra></extra>",
    }
    marks = {
        "type": "scatter",
        "x": list(names),
        "y": list(target),
        "name": "target",
        "mode": "markers",
        "marker": {"symbol": "line-ew", "size": 16, "line": {"width": 3, "color": _TARGET}},
        "hovertemplate": "%{x}<br>target %{y:.4%}<extra></extra>",
    }
    layout = {
        "height": 300,
        "margin": _MARGIN,
        "legend": {"orientation": "h", "y": 1.12, "x": 0},
        "bargap": 0.25,
        "xaxis": {"title": axis, "type": "category"},
        "yaxis": {"title": "Sparsity (share pruned)", "range": [0, 1], "tickformat": ".0%"},
    }
    return go.Figure([bars, marks], layout)


def form_bars(forms: Mapping[str, float]) -> go.Figure:
    """Bytes in each form as bars, the first form being the measure of the others."""
    names, sizes = list(forms), list(forms.values())
    bars = {
        "type": "bar",
        "orientation": "h",
        "y": names,
        "x": [size / 1e6 for size in sizes],
        "marker": {"color": _ACHIEVED},
        "text": [f"{size / 1e6:,.1f} MB · {size / sizes[0]:.0%}" for size in sizes],
        "textposition": "auto",
        "textfont": {"size": 14},
        "hovertemplate": "%{y}: %{x:,.2f} MB<extra></extra>",
    }
    layout = {
        "height": 70 + 44 * len(names),
        "margin": _MARGIN,
        "showlegend": False,
        "bargap": 0.25,
        "xaxis": {"title": "Size of the prunable modules, MB", "rangemode": "tozero"},
        "yaxis": {"autorange": "reversed", "automargin": True},
    }
    return go.Figure(bars, layout)


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
        "margin": {"l": 72, "r": 20, "t": 10, "b": 48, "autoexpand": False},  # known beforehand: drawn once
        "bargap": 0,
        "xaxis": {
            "title": f"Sparsity of one of the {len(sparsity):,} {kind}",
            "tickformat": ".0%",
            "range": [0, 1],
            "automargin": False,
        },
        "yaxis": {"title": f"Number of {kind}", "automargin": False},
    }
    return go.Figure(bars, layout)
