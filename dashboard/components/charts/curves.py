"""Perplexity over sparsity: a line for each thing compared, marks for N:M patterns, the dense model as the floor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from dashboard.components.charts.palette import CATEGORIES, DASHES, SYMBOLS

_GREY = "#808890"
_HOVER = "%{customdata[0]}<br>%{x:.1%} pruned: perplexity %{y:.2f}%{customdata[1]}<br>%{customdata[2]}<extra></extra>"


class Style(NamedTuple):
    """How a line looks: colour and symbol by its method, dash by what else it is."""

    color: str
    symbol: str
    dash: str

    @classmethod
    def of(cls, method: int, variant: int) -> Style:
        return cls(CATEGORIES[method % len(CATEGORIES)], SYMBOLS[method % len(SYMBOLS)], DASHES[variant % len(DASHES)])


def curves(
    points: pd.DataFrame,
    styles: Mapping[str, Style],
    dense: Mapping[str, float],
    published: pd.DataFrame | None = None,
) -> go.Figure:
    """``points``: one row a point with ``line`` (a name in ``styles``), ``target``, ``perplexity``, ``spread`` (of seeds, or
    NaN), ``seeds``, ``mark`` (an N:M pattern's name, or ""), ``told`` (what else the hover says) and ``run`` (which a click on
    it opens).

    ``dense``: the dense model's perplexity by what it is called; ``published``: rows with ``target``, ``perplexity``,
    ``label``, drawn hollow and grey.
    """
    points = points.assign(label=_labels(points))
    traces: list[dict[str, Any]] = []
    for line, style in styles.items():
        mine = points[points.line == line]
        free = mine[mine.mark == ""]
        if len(free):
            traces.append(_trace(line, style, free, "lines+markers"))
        if len(marked := mine[mine.mark != ""]):
            traces.append(_trace(line, style, marked, "markers+text", shown=free.empty))
    if published is not None and len(published):
        traces.append(_published(published))
    values = [*points.perplexity, *dense.values(), *(published.perplexity if published is not None else ())]
    layout = {
        "height": 520,
        "margin": {"l": 60, "r": 20, "t": 10, "b": 45},
        "showlegend": True,
        "legend": {"orientation": "h", "y": -0.16, "x": 0, "yanchor": "top"},
        "xaxis": {
            "title": "Sparsity (share of the prunable weights)",
            "tickformat": ".0%",
            "range": _across(points, published),
        },
        "yaxis": {"title": "Perplexity (lower is better)", "type": "log", "range": _range(values), **_ticks(values)},
        "shapes": [_floor(value) for value in dense.values()],
        "annotations": [_floor_words(name, value) for name, value in dense.items()],
    }
    return go.Figure(traces, layout)


def _trace(line: str, style: Style, points: pd.DataFrame, mode: str, shown: bool = True) -> dict[str, Any]:
    marked = mode.endswith("text")
    trace: dict[str, Any] = {
        "type": "scatter",
        "x": points.target.tolist(),
        "y": points.perplexity.tolist(),
        "customdata": [[line, _spread_words(point), point.told, point.run] for point in points.itertuples()],
        "mode": mode,
        "name": line,
        "legendgroup": line,
        "showlegend": shown,
        "line": {"color": style.color, "width": 2, "dash": style.dash},
        "marker": {
            "color": style.color,
            "symbol": f"{style.symbol}-open" if marked else style.symbol,
            "size": 11 if marked else 8,
        },
        "hovertemplate": _HOVER,
    }
    if marked:
        trace |= {"text": points.label.tolist(), "textposition": "middle right", "textfont": {"size": 11}}
    if points.spread.notna().any():
        trace["error_y"] = {"type": "data", "array": points.spread.fillna(0).tolist(), "thickness": 1.5, "width": 4}
    return trace


def _labels(points: pd.DataFrame) -> list[str]:
    """An N:M pattern's name stands once beside all its marks, at the highest."""
    highest = points.groupby(["mark", "target"])["perplexity"].transform("max")
    return [
        mark if value == top else ""
        for mark, value, top in zip(points["mark"], points.perplexity, highest, strict=True)
    ]


def clicked_run(event: Any) -> str | None:
    """The run of a clicked point; None for the empty selection that a second click delivers, and for published points."""
    points = event["selection"]["points"] if event else []
    data = points[0].get("customdata") if points else None
    return str(data[3]) if isinstance(data, list) and len(data) > 3 else None


def _spread_words(point: Any) -> str:
    return "" if math.isnan(point.spread) else f" ± {point.spread:.2f} (standard deviation of {point.seeds} seeds)"


def _published(published: pd.DataFrame) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": published.target.tolist(),
        "y": published.perplexity.tolist(),
        "customdata": published.label.tolist(),
        "mode": "markers",
        "name": "published",
        "marker": {"color": _GREY, "symbol": "hexagram-open", "size": 12, "line": {"width": 2}},
        "hovertemplate": "%{customdata}<br>%{x:.1%} pruned: perplexity %{y:.2f} (published)<extra></extra>",
    }


def _floor(value: float) -> dict[str, Any]:
    return {
        "type": "line", "x0": 0, "x1": 1, "xref": "paper", "y0": value, "y1": value, "line": {"dash": "dot", "color": _GREY}
    }  # fmt: skip


def _floor_words(name: str, value: float) -> dict[str, Any]:
    return {
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "y": math.log10(value),
        "yanchor": "top",
        "text": f"{name}: {value:.2f}",
        "showarrow": False,
    }


def _range(values: Sequence[float]) -> list[float] | None:
    finite = [value for value in values if math.isfinite(value) and value > 0]
    if not finite:
        return None
    low, high = math.log10(min(finite)), math.log10(max(finite))
    margin = 0.06 * max(high - low, 0.5)
    return [low - margin, high + margin]


_STEPS = ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), *(tuple(range(10, 100, step)) for step in (5, 2, 1)))
"""Within a decade; the first that gives enough ticks is taken."""
_ENOUGH = 3


def _ticks(values: Sequence[float]) -> dict[str, Any]:
    """Plain numbers, round ones first: over many decades only powers of ten."""
    reach = _range(values)
    if reach is None:
        return {}
    for steps in _STEPS:
        decades = range(math.floor(reach[0]) - 1, math.ceil(reach[1]) + 1)
        at = sorted({step * 10.0**power for power in decades for step in steps})
        shown = [value for value in at if reach[0] <= math.log10(value) <= reach[1]]
        if len(shown) >= _ENOUGH:
            break
    return {"tickvals": shown, "ticktext": [f"{value:,.0f}" if value >= 100 else f"{value:.4g}" for value in shown]}


def _across(points: pd.DataFrame, published: pd.DataFrame | None) -> list[float]:
    """From a little below the lowest sparsity to a little above the highest."""
    at = [*points.target, *(published.target if published is not None else ())]
    return [max(min(at) - 0.04, -0.02), min(max(at) + 0.04, 1.0)]
