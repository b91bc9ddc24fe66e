"""How allocations spread a sparsity over the blocks."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

_COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#7F7F7F")
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid")


def allocation_lines(allocations: Mapping[str, pd.DataFrame], target: float) -> go.Figure:
    """A line for each allocation; its table has, for each block, ``sparsity`` (weighted mean), ``lowest``, ``highest``.

    Lines differ in colour, symbol and dash. Thin bars reach from a block's lowest to its highest module.
    """
    figure = go.Figure()
    figure.add_hline(
        y=target, line_dash="dot", line_color="#888888", annotation_text="target", annotation_position="top left"
    )
    for number, (name, table) in enumerate(allocations.items()):
        color = _COLORS[number % len(_COLORS)]
        spread = (table.highest - table.lowest).max() > 1e-9
        bars = {
            "type": "data",
            "symmetric": False,
            "array": table.highest - table.sparsity,
            "arrayminus": table.sparsity - table.lowest,
            "thickness": 1,
            "width": 0,
        }
        figure.add_trace(
            go.Scatter(
                x=table.block,
                y=table.sparsity,
                error_y=bars if spread else None,
                name=name,
                mode="lines+markers",
                line={"color": color, "width": 2, "dash": _DASHES[number % len(_DASHES)]},
                marker={"symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 8},
                hovertemplate="block %{x}<br>%{y:.2%} pruned<extra>" + name + "</extra>",
            )
        )
    figure.update_layout(
        height=380,
        margin={"l": 10, "r": 10, "t": 10, "b": 45},
        showlegend=True,
        legend={"orientation": "h", "y": 1.14, "x": 0},
    )
    figure.update_xaxes(title="Decoder block")
    figure.update_yaxes(title="Sparsity (share pruned)", tickformat=".0%", rangemode="tozero")
    return figure
