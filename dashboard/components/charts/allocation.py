"""How allocations spread a sparsity over the blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")


class BlockSparsity(NamedTuple):
    """A block's sparsity: the mean, weighted by parameters, and its lowest and highest module's."""

    mean: float
    lowest: float
    highest: float


def allocation_lines(allocations: Mapping[str, Sequence[BlockSparsity]], target: float) -> go.Figure:
    """A line for each allocation over the blocks; lines differ in colour, symbol and dash.

    Thin bars reach from a block's lowest to its highest module.
    """
    lines = [_line(number, name, blocks) for number, (name, blocks) in enumerate(allocations.items())]
    mark = {"x0": 0, "x1": 1, "xref": "paper", "y0": target, "y1": target}
    words = {"x": 0, "xref": "paper", "y": target, "text": "target", "showarrow": False, "yanchor": "bottom"}
    layout = {
        "height": 380,
        "margin": {"l": 60, "r": 10, "t": 10, "b": 45},
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.14, "x": 0},
        "shapes": [{"type": "line", **mark, "line": {"dash": "dot", "color": "#888888"}}],
        "annotations": [words],
        "xaxis": {"title": "Decoder block"},
        "yaxis": {"title": "Sparsity (share pruned)", "tickformat": ".0%", "rangemode": "tozero"},
    }
    return go.Figure(lines, layout)  # at once: plotly's update methods take most of the time a slider may take


def _line(number: int, name: str, blocks: Sequence[BlockSparsity]) -> dict[str, Any]:
    color = _COLORS[number % len(_COLORS)]
    line: dict[str, Any] = {
        "type": "scatter",
        "x": list(range(len(blocks))),
        "y": [block.mean for block in blocks],
        "name": name,
        "mode": "lines+markers",
        "line": {"color": color, "width": 2, "dash": _DASHES[number % len(_DASHES)]},
        "marker": {"symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 8},
        "hovertemplate": "block %{x}<br>%{y:.2%} pruned<extra>" + name + "</extra>",
    }
    if any(block.highest - block.lowest > 1e-9 for block in blocks):
        line["error_y"] = {
            "type": "data",
            "symmetric": False,
            "array": [block.highest - block.mean for block in blocks],
            "arrayminus": [block.mean - block.lowest for block in blocks],
            "thickness": 1,
            "width": 0,
        }
    return line
