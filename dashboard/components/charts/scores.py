"""A module's scores and mask as maps with strips, and the scores' histogram with the cut."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from core.scoring.aggregate import Aggregated, Window
from core.scoring.scored import CutFacts, Histogram
from dashboard.components.charts.palette import CATEGORIES

_SELECTED = "#D55E00"
_GREY = "#808890"
_MAP, _STRIP = [0.0, 0.86], [0.885, 1.0]
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
    """Weights that are marked by a symbol."""

    name: str
    symbol: str
    rows: np.ndarray
    columns: np.ndarray


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
    figure = go.Figure([_heatmap(values, colour, numbers), *_strips(strips, row_edges, column_edges)])
    size = 16 if len(values.row_edges) <= 33 else 14
    figure.add_scatter(
        x=[target.column for target in targets],
        y=[target.row for target in targets],
        mode="markers",
        marker={"symbol": "square", "size": size, "opacity": 0},
        selected=_TRANSPARENT,
        unselected=_TRANSPARENT,
        customdata=[[target.row, target.column, target.text] for target in targets],
        hovertemplate="%{customdata[2]}<extra></extra>",
        showlegend=False,
    )
    for mark in marks:
        figure.add_scatter(
            x=mark.columns,
            y=mark.rows,
            mode="markers",
            marker={"symbol": mark.symbol, "size": 6, "color": _SELECTED, "line": {"width": 1.2, "color": "#ffffff"}},
            name=mark.name,
            hoverinfo="skip",
        )
    if frame is not None:
        figure.add_shape(_frame(frame))
    # Ranges are fixed: autorange would make room for the markers and shift the cells.
    plain = {"showgrid": False, "zeroline": False}
    figure.update_layout(
        height=500,
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        hovermode="closest",
        hoverdistance=-1,
        clickmode="event+select",
        dragmode=False,
        legend={"orientation": "h", "y": 1.1, "x": 0},
        xaxis={"domain": _MAP, "range": [column_edges[0], column_edges[-1]], "title": "Input", "tickformat": "d", **plain},
        yaxis={"domain": _MAP, "range": [row_edges[-1], row_edges[0]], "title": "Output", "tickformat": "d", **plain},
        xaxis2={
            "domain": _STRIP, "anchor": "y", "title": strips.beside_title, "nticks": 3, "exponentformat": "power",
            "range": strips.beside_range, "zeroline": False,
        },
        yaxis2={
            "domain": _STRIP, "anchor": "x", "title": strips.above_title, "type": "log", "nticks": 3,
            "exponentformat": "power", "zeroline": False,
        },
    )  # fmt: skip
    return figure


def _heatmap(values: Aggregated, colour: Colour, numbers: bool) -> go.Heatmap:
    z, low, high, bar = values.mean, colour.low, colour.high, {"tickformat": colour.tick}
    if colour.logarithmic:
        with np.errstate(divide="ignore"):
            z = np.log10(values.mean)
        z[~np.isfinite(z)] = np.nan  # a score of zero has no place on the scale, and stays empty
        low, high = (float(np.nanquantile(z, share)) if np.isfinite(z).any() else 0.0 for share in (0.01, 0.99))
        ticks = np.linspace(low, high, 4)
        bar = {"tickvals": ticks, "ticktext": [f"{10**tick:.2g}" for tick in ticks]}
    return go.Heatmap(
        z=z,
        x=values.column_edges - 0.5,
        y=values.row_edges - 0.5,
        zmin=low,
        zmax=high,
        text=np.vectorize(lambda value: f"{value:.2g}")(values.mean) if numbers else None,
        texttemplate="%{text}" if numbers else None,
        textfont={"size": 10},
        colorbar={
            "title": {"text": colour.title, "side": "top"}, "orientation": "h", "thickness": 12, "y": -0.16, "yanchor": "top",
            "x": 0.43, "len": 0.86, **bar,
        },
        hoverinfo="skip",
    )  # fmt: skip


def _strips(strips: Strips, row_edges: np.ndarray, column_edges: np.ndarray) -> list[go.Scatter]:
    line = {"color": CATEGORIES[0], "width": 1.5}
    shared: dict[str, Any] = {"mode": "lines", "line": line, "hoverinfo": "skip", "showlegend": False}
    above = np.append(strips.above, strips.above[-1]).astype(np.float64)
    beside = np.append(strips.beside, strips.beside[-1]).astype(np.float64)
    above[above <= 0] = np.nan  # a dead input has no place on a log axis
    return [
        go.Scatter(x=column_edges, y=above, xaxis="x", yaxis="y2", line_shape="hv", **shared),
        go.Scatter(x=beside, y=row_edges, xaxis="x2", yaxis="y", line_shape="vh", **shared),
    ]


def _frame(window: Window) -> dict[str, Any]:
    corners = {
        "x0": window.column - 0.5,
        "x1": window.column + window.columns - 0.5,
        "y0": window.row - 0.5,
        "y1": window.row + window.rows - 0.5,
    }
    return {"type": "rect", **corners, "line": {"color": _SELECTED, "width": 3}}


def clicked_place(event: object) -> tuple[int, int] | None:
    """The (output, input) of a click on a map; None for the empty selection that a second click delivers."""
    points = event["selection"]["points"] if event else []  # type: ignore[index]
    if not points or "customdata" not in points[0]:
        return None
    row, column, _ = points[0]["customdata"]
    return int(row), int(column)


def score_histogram(counts: Histogram, cut: CutFacts | None, whose: str) -> go.Figure:
    """Scores on a log axis, kept above pruned, and the cut; where every group has its own: the middle one, and their range."""
    figure = go.Figure()
    for name, numbers, color, pattern in (
        ("pruned", counts.pruned, CATEGORIES[1], "/"),
        ("kept", counts.kept, CATEGORIES[0], ""),
    ):
        figure.add_scatter(
            x=counts.edges,
            y=[*numbers, numbers[-1]],
            name=name,
            mode="lines",
            stackgroup="all",
            line={"shape": "hv", "width": 1, "color": color},
            fillpattern={"shape": pattern, "fgcolor": color, "fillmode": "overlay", "size": 6},
            hovertemplate="from %{x:.3g}: %{y:,} " + name + "<extra></extra>",
        )
    if cut is not None:
        if cut.high > cut.low:
            figure.add_vrect(x0=cut.low, x1=cut.high, fillcolor=_GREY, opacity=0.25, line_width=0)
        figure.add_vline(x=cut.median, line_dash="dash", line_width=2, line_color=_SELECTED)
        figure.add_annotation(
            x=math.log10(cut.median) if cut.median > 0 else math.log10(counts.edges[0]),
            y=1,
            yref="paper",
            yanchor="bottom",
            text=f"cut {cut.median:.3g}" if cut.groups == 1 else f"middle cut {cut.median:.3g} ({whose})",
            showarrow=False,
        )
    figure.update_layout(
        height=320,
        margin={"l": 10, "r": 10, "t": 50, "b": 45},
        legend={"orientation": "h", "y": 1.22, "x": 0},
        hovermode="x",
        xaxis={"title": "Score", "type": "log", "exponentformat": "power", "nticks": 8},
        yaxis={"title": "Number of weights"},
    )
    return figure
