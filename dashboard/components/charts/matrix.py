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
_EDGE = 0.03  # of a cell: room for a frame's line
_PALE = 2.8  # times the largest value is where a scale ends: on its pale part, all numbers are in the ink of the text
_CLEAR = ((0.0, "rgba(0,0,0,0)"), (1.0, "rgba(0,0,0,0)"))
FOCUS, OTHER = CATEGORIES[1], CATEGORIES[0]


@dataclass(frozen=True)
class Strip:
    """A number for each column, above the matrix, or for each row, beside it."""

    name: str
    values: np.ndarray
    digits: int = 2

    @property
    def words(self) -> list[str]:
        return [plainly(value, self.digits) for value in self.values.tolist()]


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
        across = columns + (1 if self.beside else 0)
        down = rows + (1 if self.above or self.flow is not None else 0)
        return round(CELL * across) + AT_LEFT + AT_RIGHT, round(ROW * down) + _AT_TOP + _AT_BOTTOM


def plainly(value: float, digits: int) -> str:
    """A number with a true minus sign, and none before 0."""
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def matrix(drawn: Matrix, ink: str) -> go.Figure:
    """``ink``: the colour of the theme's text, for all numbers."""
    kept = np.ones(drawn.values.shape, dtype=bool) if drawn.keep is None else drawn.keep
    waiting = np.zeros_like(kept) if drawn.waiting is None else drawn.waiting
    values, words, coloured = _with_strips(drawn, kept)
    reach = _PALE * (drawn.reach or float(np.abs(drawn.values).max()) or 1.0)
    shared = {
        "type": "heatmap",
        "x": list(range(values.shape[1])),
        "y": list(range(-1 if drawn.above else 0, len(kept))),
        "texttemplate": "%{text}",
        "textfont": {"color": ink},  # as large as cells allow; none where these are too small
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
        "hoverinfo": "skip",
        "hoverongaps": False,
    }
    cells = shared | {
        "z": np.where(coloured, values, np.nan).tolist(),
        "text": np.where(coloured, words, "").tolist(),
        "zmin": -reach if drawn.signed else 0,
        "zmax": reach,
        "colorscale": DIVERGING if drawn.signed else SEQUENTIAL,
    }
    plain = shared | {
        "z": np.where(coloured, np.nan, 0.0).tolist(),
        "text": np.where(coloured, "", words).tolist(),
        "colorscale": _CLEAR,
    }
    return go.Figure([cells, plain, _strokes(~kept, waiting, ink)], _layout(drawn, ink))


def _with_strips(drawn: Matrix, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, words and where there is colour, with a row and a column more for the strips.

    In one grid, since only numbers of one trace get one size.
    """
    rows, columns = kept.shape
    top, right = int(drawn.above is not None), int(drawn.beside is not None)
    values, coloured = np.zeros((rows + top, columns + right)), np.zeros((rows + top, columns + right), dtype=bool)
    words = np.full(values.shape, "", dtype=object)
    values[top:, :columns], coloured[top:, :columns] = drawn.values, kept
    words[top:, :columns] = [[plainly(value, drawn.digits) for value in row] for row in drawn.values.tolist()]
    if drawn.above:
        words[0, :columns] = drawn.above.words
    if drawn.beside:
        words[top:, columns] = drawn.beside.words
    return values, words, coloured


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
    top = -1.5 if drawn.above or drawn.flow is not None else -0.5
    right = columns - 0.5 + (1 if drawn.beside else 0)
    font = {"size": 15, "color": ink}
    names = list(drawn.rows)
    at = [float(row) for row in range(rows)]
    if drawn.above:
        names, at = [drawn.above.name, *names], [-1.0, *at]
    plain = {"showgrid": False, "zeroline": False, "showline": False, "ticks": "", "fixedrange": True}
    x_names, x_at = list(drawn.columns), [float(column) for column in range(columns)]
    if drawn.beside:
        x_names, x_at = [*x_names, drawn.beside.name], [*x_at, float(columns)]
    return {
        "height": height,
        "margin": {"l": AT_LEFT, "r": AT_RIGHT, "t": _AT_TOP, "b": _AT_BOTTOM},
        "font": {"size": _LARGEST},
        "dragmode": False,
        "showlegend": False,
        "xaxis": {
            "side": "top",
            "range": [-0.5 - _EDGE, right + _EDGE],
            "tickvals": x_at,
            "ticktext": x_names,
            "tickfont": font,
            **plain,
        },
        "yaxis": {
            "range": [rows - 0.5 + _EDGE, top - _EDGE],
            "tickvals": at,
            "ticktext": names,
            "tickfont": font,
            **plain,
        },
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
