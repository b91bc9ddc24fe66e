"""A module's scores and mask as maps with strips, and the scores' histogram with the cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from core.scoring.aggregate import Aggregated, Window
from core.scoring.histogram import Histogram
from core.scoring.scored import CutFacts
from dashboard.components.charts.palette import CATEGORIES, HIGH_END, LOW_END, SELECTED

_GREY = "#808890"
_ACROSS, _BESIDE = [0.0, 0.85], [0.875, 1.0]
_DOWN, _ABOVE = (
    [0.2, 0.87],
    [0.895, 1.0],
)  # below the map: its axis, and the colours; inside, so that nothing is laid out twice
_TRANSPARENT = {"marker": {"opacity": 0}}


@dataclass(frozen=True)
class Colour:
    """What the colour of a map says, on which scale; ``tick`` writes a value in figures."""

    title: str
    logarithmic: bool = False
    low: float | None = None
    high: float | None = None
    tick: str = ".3g"


@dataclass(frozen=True)
class Strips:
    """Beside a map: one value for each of its columns, and for each of its rows."""

    above: np.ndarray
    above_title: str
    beside: np.ndarray
    beside_title: str
    beside_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Target:
    """Where a map can be clicked: the weight that is selected then, and what is said of the place."""

    row: int
    column: int
    text: str


@dataclass(frozen=True)
class Marks:
    """Weights that are marked by a symbol, on cells that are low on the colour scale, or high on it."""

    name: str
    symbol: str
    rows: np.ndarray
    columns: np.ndarray
    on_high: bool = False


def matrix_map(
    values: Aggregated,
    colour: Colour,
    strips: Strips,
    targets: Sequence[Target],
    frame: Window | None = None,
    marks: Sequence[Marks] = (),
    numbers: bool = False,
) -> go.Figure:
    """A matrix, or a window of it, in its own rows (outputs, downwards) and columns (inputs), each weight centred on its number.

    ``frame``: what is framed; ``numbers``: whether each cell's value is written into it. Plotly reports no click on a
    heatmap's cell, so transparent markers take it, few enough to be drawn at once.
    """
    row_edges, column_edges = values.row_edges - 0.5, values.column_edges - 0.5
    traces = [
        _heatmap(values, colour, numbers),
        *_strips(strips, row_edges, column_edges),
        _targets(targets, 16 if len(values.row_edges) <= 33 else 14),
        *_marked(marks, 0.32 if numbers else 0.0),  # a number stands in the middle
    ]
    plain = {"showgrid": False, "zeroline": False, "tickformat": "d", "automargin": False}
    # Ranges are fixed: autorange would make room for the markers and shift the cells.
    layout = {
        "height": 610 if marks else 580,
        "margin": {"l": 60, "r": 20, "t": 40 if marks else 10, "b": 10, "autoexpand": False},
        "hovermode": "closest",
        "hoverdistance": -1,
        "clickmode": "event+select",
        "dragmode": False,
        "legend": {"orientation": "h", "y": 1.01, "yanchor": "bottom", "x": 0},
        "shapes": [] if frame is None else [_frame(frame)],
        "xaxis": {"domain": _ACROSS, "range": [column_edges[0], column_edges[-1]], "title": "Input", **plain},
        "yaxis": {"domain": _DOWN, "range": [row_edges[-1], row_edges[0]], "title": "Output", **plain},
        "xaxis2": {
            "domain": _BESIDE, "anchor": "y", "side": "top", "title": strips.beside_title, "tickangle": 0, "zeroline": False,
            "automargin": False,
            **_ends(strips.beside, strips.beside_range),
        },
        "yaxis2": {
            "domain": _ABOVE, "anchor": "x", "title": strips.above_title, "type": "log", "zeroline": False,
            "automargin": False,
            **_ends(strips.above[strips.above > 0]),
        },
    }  # fmt: skip
    return go.Figure(traces, layout)


def _targets(targets: Sequence[Target], size: int) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": [target.column for target in targets],
        "y": [target.row for target in targets],
        "text": [target.text for target in targets],
        "mode": "markers",
        "marker": {"symbol": "square", "size": size, "opacity": 0},
        "selected": _TRANSPARENT,
        "unselected": _TRANSPARENT,
        "hovertemplate": "%{text}<extra></extra>",
        "showlegend": False,
    }


def _marked(marks: Sequence[Marks], aside: float) -> list[dict[str, Any]]:
    colors = [LOW_END if mark.on_high else HIGH_END for mark in marks]
    return [
        {
            "type": "scatter",
            "x": mark.columns - aside,
            "y": mark.rows - aside,
            "mode": "markers",
            "marker": {"symbol": mark.symbol, "size": 6, "color": color, "line": {"width": 1.5, "color": color}},
            "name": mark.name,
            "hoverinfo": "skip",
        }
        for mark, color in zip(marks, colors, strict=True)
    ]


def _ends(values: np.ndarray, reach: tuple[float, float] | None = None) -> dict[str, Any]:
    """Ticks at the lowest and the highest value only: a strip has no room for more."""
    if reach is None and not len(values):
        return {}
    ends = reach or (float(values.min()), float(values.max()))
    return {"tickvals": ends, "ticktext": [f"{end:.2g}" for end in ends]} | ({"range": reach} if reach else {})


def _heatmap(values: Aggregated, colour: Colour, numbers: bool) -> dict[str, Any]:
    z, low, high = values.mean, colour.low, colour.high
    bar: dict[str, Any] = {"tickformat": colour.tick}
    if colour.logarithmic:
        with np.errstate(divide="ignore"):
            z = np.log10(values.mean)
        z[~np.isfinite(z)] = np.nan  # a score of zero has no place on the scale, and stays empty
        low, high = (float(np.nanquantile(z, share)) if np.isfinite(z).any() else 0.0 for share in (0.01, 0.99))
        ticks = np.linspace(low, high, 4)
        bar = {"tickvals": ticks, "ticktext": [f"{10**tick:.2g}" for tick in ticks]}
    text = {
        "text": np.vectorize("{:.2g}".format)(values.mean) if numbers else None,
        "texttemplate": "%{text}",
        "textfont": {"size": 10},
    }
    return {
        "type": "heatmap",
        "z": z,
        "x": values.column_edges - 0.5,
        "y": values.row_edges - 0.5,
        "zmin": low,
        "zmax": high,
        "colorbar": {
            "title": {"text": colour.title, "side": "top"}, "orientation": "h", "thickness": 12, "y": 0, "yanchor": "bottom",
            "ypad": 0, "x": 0.425, "len": 0.85, **bar,
        },
        "hoverinfo": "skip",
        **(text if numbers else {}),
    }  # fmt: skip


def _strips(strips: Strips, row_edges: np.ndarray, column_edges: np.ndarray) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False}
    line = {"color": CATEGORIES[0], "width": 1.5}
    above = np.append(strips.above, strips.above[-1]).astype(np.float64)
    beside = np.append(strips.beside, strips.beside[-1]).astype(np.float64)
    above[above <= 0] = np.nan  # a dead input has no place on a log axis
    return [
        shared | {"x": column_edges, "y": above, "xaxis": "x", "yaxis": "y2", "line": line | {"shape": "hv"}},
        shared | {"x": beside, "y": row_edges, "xaxis": "x2", "yaxis": "y", "line": line | {"shape": "vh"}},
    ]


def _frame(window: Window) -> dict[str, Any]:
    corners = {
        "x0": window.column - 0.5,
        "x1": window.column + window.columns - 0.5,
        "y0": window.row - 0.5,
        "y1": window.row + window.rows - 0.5,
    }
    return {"type": "rect", **corners, "line": {"color": SELECTED, "width": 3}}


def clicked_place(event: object) -> tuple[int, int] | None:
    """The (output, input) of a click on a map; None for the empty selection that a second click delivers."""
    points = event["selection"]["points"] if event else []  # type: ignore[index]
    return (int(points[0]["y"]), int(points[0]["x"])) if points else None


def score_histogram(counts: Histogram, cut: CutFacts | None) -> go.Figure:
    """Scores on a log axis, kept above pruned, and the cut; where every group has its own: their median and range."""
    traces = [
        {
            "type": "scatter",
            "x": counts.edges,
            "y": [*numbers, numbers[-1]],
            "name": name,
            "mode": "lines",
            "stackgroup": "all",
            "line": {"shape": "hv", "width": 1, "color": color},
            "fillpattern": {"shape": pattern, "fgcolor": color, "fillmode": "overlay", "size": 6},
            "hovertemplate": f"from %{{x:.3g}}: %{{y:,}} {name}<extra></extra>",
        }
        for name, numbers, color, pattern in (
            ("pruned", counts.pruned, CATEGORIES[1], "/"),
            ("kept", counts.kept, CATEGORIES[0], ""),
        )
    ]
    layout = {
        "height": 320,
        "margin": {"l": 72, "r": 10, "t": 50, "b": 48, "autoexpand": False},  # known beforehand: drawn once
        "legend": {"orientation": "h", "y": 1.22, "x": 0},
        "hovermode": "x",
        "xaxis": {"title": "Score", "type": "log", "exponentformat": "power", "dtick": 1, "automargin": False},
        "yaxis": {"title": "Number of weights", "automargin": False},
        **(_cut(cut) if cut is not None and cut.median > 0 else {}),
    }
    return go.Figure(traces, layout)


def _cut(cut: CutFacts) -> dict[str, Any]:
    """The cut as a line, the range of many as a band behind it."""
    upright = {"yref": "paper", "y0": 0, "y1": 1}
    line = {"dash": "dash", "width": 2, "color": SELECTED}
    band = {"type": "rect", "x0": cut.low, "x1": cut.high, "fillcolor": _GREY, "opacity": 0.25, "line": {"width": 0}}
    words = f"cut {cut.median:.3g}" if cut.groups == 1 else f"median of the cuts {cut.median:.3g}"
    note = {
        "x": math.log10(cut.median),
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
        "text": words,
        "showarrow": False,
    }
    return {
        "shapes": [band | upright, {"type": "line", "x0": cut.median, "x1": cut.median, "line": line} | upright],
        "annotations": [note],
    }
