"""A matrix small enough to see every number: colour and number in each cell, pruned ones crossed out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dashboard.components.charts.palette import CATEGORIES, DIVERGING, SEQUENTIAL

CELL, ROW = 76, 44  # pixels, where there is room
AT_LEFT, AT_RIGHT = 64, 8
_AT_TOP, _AT_BOTTOM = 34, 8
_LARGEST = 17  # pixels of a number, where its cell has room for it
_STRIP = 1.3  # rows from a strip's middle to the matrix's first row's
_PALE = 2.8  # times the largest value is where a scale ends: on its pale part, all numbers are in the ink of the text
_CLEAR = ((0.0, "rgba(0,0,0,0)"), (1.0, "rgba(0,0,0,0)"))
FOCUS, OTHER = CATEGORIES[1], CATEGORIES[0]


@dataclass(frozen=True)
class Strip:
    """A number for each column, above the matrix, or for each row, beside it."""

    name: str
    values: np.ndarray
    digits: int = 2


@dataclass(frozen=True)
class Frame:
    """A rectangle around cells, first and last included; ``dash`` tells kinds apart beside the colour."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    color: str = FOCUS
    dash: str = "solid"


@dataclass(frozen=True)
class Matrix:
    """``values`` [rows, columns] with what is to be seen on them.

    ``keep``: crossed out where False. ``waiting``: struck once where True, decided but not pruned yet. ``reach``: the value with
    the strongest colour; ``signed``: colours run both ways from 0. ``flow``: the column from which an arrow goes to the right end.
    """

    values: np.ndarray
    rows: Sequence[str]
    columns: Sequence[str]
    keep: np.ndarray | None = None
    waiting: np.ndarray | None = None
    signed: bool = True
    digits: int = 1
    reach: float | None = None
    above: Strip | None = None
    beside: Strip | None = None
    frames: Sequence[Frame] = ()
    flow: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels where there is room."""
        rows, columns = self.values.shape
        across = columns + (_STRIP if self.beside else 0)
        down = rows + (_STRIP if self.above or self.flow is not None else 0)
        return round(CELL * across) + AT_LEFT + AT_RIGHT, round(ROW * down) + _AT_TOP + _AT_BOTTOM


def matrix(drawn: Matrix, ink: str) -> go.Figure:
    """``ink``: the colour of the theme's text, for numbers on no colour."""
    rows, columns = drawn.values.shape
    kept = np.ones((rows, columns), dtype=bool) if drawn.keep is None else drawn.keep
    reach = _PALE * (drawn.reach or float(np.abs(drawn.values).max()) or 1.0)
    words = [[f"{value:.{drawn.digits}f}".replace("-", "−") for value in row] for row in drawn.values.tolist()]
    coloured = {
        "z": np.where(kept, drawn.values, np.nan).tolist(),
        "zmin": -reach if drawn.signed else 0,
        "zmax": reach,
        "colorscale": DIVERGING if drawn.signed else SEQUENTIAL,
        "textfont": {"color": ink},
    }
    plain = {"z": np.where(kept, np.nan, 0.0).tolist(), "colorscale": _CLEAR, "textfont": {"color": ink}}
    traces = [_cells(coloured, words, kept), _cells(plain, words, ~kept)]
    if drawn.above:
        traces.append(_strip([drawn.above.values.tolist()], list(range(columns)), [-_STRIP], drawn.above.digits, ink))
    if drawn.beside:
        beside = [[value] for value in drawn.beside.values.tolist()]
        traces.append(_strip(beside, [columns - 1 + _STRIP], list(range(rows)), drawn.beside.digits, ink))
    waiting = np.zeros_like(kept) if drawn.waiting is None else drawn.waiting
    traces.append(_strokes(~kept, waiting, ink))
    return go.Figure(traces, _layout(drawn, ink))


def _cells(trace: dict[str, Any], words: list[list[str]], where: np.ndarray) -> dict[str, Any]:
    """Numbers are as large as cells allow, and vanish where these are too small."""
    text = [[word if here else "" for word, here in zip(*row, strict=True)] for row in zip(words, where, strict=True)]
    shared = {"type": "heatmap", "showscale": False, "xgap": 2, "ygap": 2, "hoverinfo": "skip", "hoverongaps": False}
    return shared | {"text": text, "texttemplate": "%{text}"} | trace


def _strip(values: list[list[float]], x: Sequence[float], y: Sequence[float], digits: int, ink: str) -> dict[str, Any]:
    words = [[f"{value:.{digits}f}" for value in row] for row in values]
    where = np.ones((len(y), len(x)), dtype=bool)
    trace = {"z": (0 * where).tolist(), "x": list(x), "y": list(y), "colorscale": _CLEAR, "textfont": {"color": ink}}
    return _cells(trace, words, where)


def _strokes(crossed: np.ndarray, struck: np.ndarray, ink: str) -> dict[str, Any]:
    """Both diagonals of crossed cells, one of struck ones."""
    x: list[float | None] = []
    y: list[float | None] = []
    for row, column in zip(*(crossed | struck).nonzero(), strict=True):
        ends = [(0.42, -0.38)] + ([(-0.42, -0.38)] if crossed[row, column] else [])
        for dx, dy in ends:
            x += [column - dx, column + dx, None]
            y += [row - dy, row + dy, None]
    line = {"color": ink, "width": 1.5}
    return {
        "type": "scatter", "x": x, "y": y, "mode": "lines", "line": line, "opacity": 0.35, "hoverinfo": "skip",
        "showlegend": False,
    }  # fmt: skip


def _layout(drawn: Matrix, ink: str) -> dict[str, Any]:
    rows, columns = drawn.values.shape
    _, height = drawn.size
    top = -_STRIP - 0.5 if drawn.above or drawn.flow is not None else -0.5
    right = columns - 0.5 + (_STRIP if drawn.beside else 0)
    font = {"size": 15, "color": ink}
    names = list(drawn.rows)
    at = [float(row) for row in range(rows)]
    if drawn.above:
        names, at = [drawn.above.name, *names], [-_STRIP, *at]
    plain = {"showgrid": False, "zeroline": False, "showline": False, "ticks": "", "fixedrange": True}
    x_names, x_at = list(drawn.columns), [float(column) for column in range(columns)]
    if drawn.beside:
        x_names, x_at = [*x_names, drawn.beside.name], [*x_at, columns - 1 + _STRIP]
    return {
        "height": height,
        "margin": {"l": AT_LEFT, "r": AT_RIGHT, "t": _AT_TOP, "b": _AT_BOTTOM},
        "font": {"size": _LARGEST},
        "dragmode": False,
        "showlegend": False,
        "xaxis": {
            "side": "top",
            "range": [-0.5, right],
            "tickvals": x_at,
            "ticktext": x_names,
            "tickfont": font,
            **plain,
        },
        "yaxis": {"range": [rows - 0.5, top], "tickvals": at, "ticktext": names, "tickfont": font, **plain},
        "shapes": [_rectangle(frame) for frame in drawn.frames],
        "annotations": [] if drawn.flow is None else [_arrow(drawn.flow, columns)],
    }


def _rectangle(frame: Frame) -> dict[str, Any]:
    corners = {
        "x0": frame.columns[0] - 0.5, "x1": frame.columns[1] + 0.5,
        "y0": frame.rows[0] - 0.5, "y1": frame.rows[1] + 0.5,
    }  # fmt: skip
    return {"type": "rect", **corners, "line": {"color": frame.color, "width": 3, "dash": frame.dash}}


def _arrow(start: int, columns: int) -> dict[str, Any]:
    ends = {"x": columns - 0.6, "ax": start + 0.5, "y": -0.9, "ay": -0.9}
    axes = {"xref": "x", "yref": "y", "axref": "x", "ayref": "y"}
    return {**ends, **axes, "text": "", "showarrow": True, "arrowhead": 2, "arrowwidth": 3, "arrowcolor": FOCUS}
