"""How allocations spread a sparsity over the blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from dashboard.components.charts.palette import CATEGORIES, DASHES, SYMBOLS

_TARGET = CATEGORIES[7]


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
        "margin": {"l": 66, "r": 10, "t": 36 + 20 * ((len(lines) - 1) // 2), "b": 48, "autoexpand": False},
        "showlegend": True,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "shapes": [{"type": "line", **mark, "line": {"dash": "dot", "color": _TARGET}}],
        "annotations": [words],
        "xaxis": {"title": "Decoder block", "automargin": False},
        "yaxis": {"title": "Sparsity (share pruned)", "tickformat": ".0%", "rangemode": "tozero", "automargin": False},
    }
    return go.Figure(lines, layout)  # at once: plotly's update methods take most of the time a slider may take


def _line(number: int, name: str, blocks: Sequence[BlockSparsity]) -> dict[str, Any]:
    color = CATEGORIES[number % len(CATEGORIES)]
    line: dict[str, Any] = {
        "type": "scatter",
        "x": list(range(len(blocks))),
        "y": [block.mean for block in blocks],
        "name": name,
        "mode": "lines+markers",
        "line": {"color": color, "width": 2, "dash": DASHES[number % len(DASHES)]},
        "marker": {"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 9, "maxdisplayed": 8},  # each one costs
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
