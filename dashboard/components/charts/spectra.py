"""Spectra as log-log histograms with their fitted tails and random bulks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from core.spectra.marchenko_pastur import density
from dashboard.components.charts import palette

DENSE, TAIL, BULK, PRUNED, _, _, _, RANDOM = palette.CATEGORIES
_BINS = 60
_MARGIN = {"l": 10, "r": 10, "t": 10, "b": 45}
_AROUND, _SMALL, _LARGE, _GAP = 66, 160, 250, 88  # pixels: above and below all panels, of a panel's row, between rows
_PANELS_A_ROW = {"few": 4, "many": 8}


@dataclass(frozen=True)
class Spectrum:
    """One module's eigenvalues, ascending, and its row of the table of spectra."""

    values: np.ndarray
    row: pd.Series

    @property
    def positive(self) -> np.ndarray:
        return self.values[self.values > 0]

    @property
    def has_tail(self) -> bool:
        return not math.isnan(self.row.alpha)


def esd(dense: Spectrum, pruned: Spectrum | None = None, randomised: np.ndarray | None = None) -> go.Figure:
    """The ESD of a module: histogram, where its tail begins, the fitted tail, the random bulk; overlaid what else there is."""
    parts = [dense.positive, *([pruned.positive] if pruned else []), *([] if randomised is None else [randomised])]
    shown = [part for part in parts if len(part)]
    edges = _edges(shown)
    traces = [_steps(dense.positive, edges, "dense", DENSE, "solid", fill=True)]
    if randomised is not None:
        traces.append(_steps(randomised[randomised > 0], edges, "entries shuffled", RANDOM, "dot"))
    if pruned is not None and len(pruned.positive):
        traces.append(_steps(pruned.positive, edges, "pruned", PRUNED, "solid"))
    both = ((dense, "tail", "solid"), (pruned, "pruned tail", "dash"))
    fitted = [(one, name, dash) for one, name, dash in both if one is not None and one.has_tail]
    traces += [_tail(one, f"{name}, α = {one.row.alpha:.2f}", dash) for one, name, dash in fitted]
    traces.append(_bulk(dense))
    begin = fitted[0][0].row.xmin if fitted else None
    layout = {
        "height": 400,
        "margin": _MARGIN,
        "bargap": 0,
        "legend": {"orientation": "h", "y": 1.14, "x": 0},
        "xaxis": {"title": "Eigenvalue λ of WᵀW", "type": "log", "range": _range(edges)},
        "yaxis": {
            "title": "Density",
            "type": "log",
            "exponentformat": "power",
            "range": _density_range(shown, edges),
        },
        "shapes": [] if begin is None else [_upright(begin)],
        "annotations": [] if begin is None else [_lowest(begin)],
    }
    return go.Figure(traces, layout)


def _upright(x: float) -> dict[str, Any]:
    line = {"dash": "dot", "color": TAIL}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "y domain", "line": line}


def _lowest(x: float) -> dict[str, Any]:
    place = {"x": math.log10(x), "y": 1, "yref": "paper", "xanchor": "left", "yanchor": "top"}
    return {**place, "text": "λ<sub>min</sub>", "showarrow": False, "font": {"color": TAIL}}


def panels(spectra: Sequence[tuple[str, Spectrum]], chosen: str | None) -> go.Figure:
    """Small multiples on common axes, each titled and with its alpha; the chosen one is framed."""
    many = len(spectra) > 12
    across = min(len(spectra), _PANELS_A_ROW["many" if many else "few"])
    down = math.ceil(len(spectra) / across)
    height = _AROUND + (_SMALL if many else _LARGE) * down
    positives = [one.positive for _, one in spectra if len(one.positive)]
    edges = _edges(positives, _BINS // 2)
    log = {"type": "log", "exponentformat": "power", "nticks": 4, "automargin": False}
    ranges = {"x": _range(edges), "y": _density_range(positives, edges)}
    traces: list[dict[str, Any]] = []
    layout: dict[str, Any] = {
        "height": height,
        "margin": {"l": 56, "r": 10, "t": 64, "b": 45, "autoexpand": False},  # known beforehand: drawn once
        "showlegend": False,
        "annotations": [],
    }
    for number, (name, one) in enumerate(spectra):
        row, column = divmod(number, across)
        places = {"x": _place(column, across, 0.012), "y": _place(down - 1 - row, down, _GAP / height)}
        suffix = str(number + 1) if number else ""
        own = {"xaxis": f"x{suffix}", "yaxis": f"y{suffix}"}
        labelled = {"x": number + across >= len(spectra), "y": column == 0}
        framed = {"showline": True, "linecolor": TAIL, "linewidth": 3, "mirror": True} if name == chosen else {}
        for axis, other in ("xy", "yx"):
            layout[f"{axis}axis{suffix}"] = {
                **log,
                **framed,
                "range": ranges[axis],
                "domain": places[axis],
                "anchor": other + suffix,
                "showticklabels": labelled[axis],
                **({"matches": axis} if number else {}),
            }
        title = {"x": sum(places["x"]) / 2, "y": places["y"][1], "text": _panel_title(name, one), "yshift": 14}
        anchors = {"xref": "paper", "yref": "paper", "xanchor": "center", "yanchor": "bottom", "showarrow": False}
        layout["annotations"].append({**title, **anchors, "font": {"size": 10 if many else 12}})
        if len(one.positive):
            traces.append(_steps(one.positive, edges, name, DENSE, "solid", fill=True) | own)
        if one.has_tail:
            traces.append(_tail(one, name, "solid") | own)
    return go.Figure(traces, layout)  # at once: plotly's subplots take ten times as long


def _place(number: int, of: int, gap: float) -> list[float]:
    """Where the panel of this number lies, on an axis from 0 to 1 that ``of`` panels share."""
    size = (1 - gap * (of - 1)) / of
    return [number * (size + gap), number * (size + gap) + size]


def _panel_title(name: str, one: Spectrum) -> str:
    """In short lines, since panels are narrow on a phone."""
    words = name.replace(".", ".<br>")
    return f"{words}<br>α {one.row.alpha:.2f}" if one.has_tail else words


def _edges(parts: Sequence[np.ndarray], bins: int = _BINS) -> np.ndarray:
    """Bins of equal width in log λ over all that is shown; what is a millionth of the largest or less stays outside."""
    if not parts:
        return np.logspace(-1, 1, bins + 1)
    high = max(float(part[-1]) for part in parts)
    low = max(min(float(part[0]) for part in parts), high * 1e-6)
    return (
        np.logspace(math.log10(low) - 1e-9, math.log10(high) + 1e-9, bins + 1)
        if low < high
        else np.array([low, 2 * low])
    )


def _density(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    counts, _ = np.histogram(values, edges)
    return counts / (len(values) * np.diff(edges))


def _steps(
    values: np.ndarray, edges: np.ndarray, name: str, color: str, dash: str, fill: bool = False
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "x": np.sqrt(edges[:-1] * edges[1:]),
        "y": _visible(values, edges),
        "name": name,
        "mode": "lines",
        "line": {"shape": "hvh", "color": color, "dash": dash, "width": 1.5 if fill else 2},
        "fill": "tozeroy" if fill else None,
        "hovertemplate": "λ about %{x:.3g}<br>density %{y:.3g}<extra>" + name + "</extra>",
    }


def _visible(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Densities; those of empty bins far below all others, since a log axis has no 0."""
    return _density(values, edges).clip(min=1e-30)


def _tail(spectrum: Spectrum, name: str, dash: str) -> dict[str, Any]:
    """The fitted power law, scaled to the share of eigenvalues in the tail."""
    row, values = spectrum.row, spectrum.positive
    x = np.geomspace(row.xmin, values[-1], 40)
    height = row.tail_size / len(values) * (row.alpha - 1) / row.xmin * (x / row.xmin) ** -row.alpha
    line = {"color": TAIL, "width": 3, "dash": dash}
    return {"type": "scatter", "x": x, "y": height, "mode": "lines", "name": name, "line": line, "hoverinfo": "skip"}


def _bulk(spectrum: Spectrum) -> dict[str, Any]:
    """The fitted Marchenko–Pastur density."""
    row = spectrum.row
    line = {"color": BULK, "width": 2, "dash": "dash"}
    drawn = {"type": "scatter", "mode": "lines", "line": line}
    if math.isnan(row.bulk_high):
        return {**drawn, "x": [], "y": [], "name": "random bulk"}
    larger, smaller = max(row.rows, row.columns) ** 0.5, min(row.rows, row.columns) ** 0.5
    variance = row.bulk_high / (larger + smaller) ** 2
    x = np.geomspace(max(row.bulk_low, row.bulk_high * 1e-6), row.bulk_high, 200)
    y = density(x, int(row.rows), int(row.columns), variance)
    return {**drawn, "x": x[y > 0], "y": y[y > 0], "name": "random bulk (Marchenko–Pastur)", "hoverinfo": "skip"}


def _range(edges: np.ndarray) -> list[float]:
    return [math.log10(edges[0]), math.log10(edges[-1]) + 0.05]


def _density_range(parts: Sequence[np.ndarray], edges: np.ndarray) -> list[float] | None:
    """From below the lowest bar to above the highest, so that a tail's thin end does not stretch the axis."""
    heights: Any = np.concatenate([_density(part, edges) for part in parts]) if parts else np.array([])
    heights = heights[heights > 0]
    if not len(heights):
        return None
    return [math.log10(heights.min()) - 0.5, math.log10(heights.max()) + 0.4]
