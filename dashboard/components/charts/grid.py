"""One value for each module, blocks from left to right, modules from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from dashboard.components.charts import palette


@dataclass(frozen=True)
class Quantity:
    """What a grid shows: the table's column, what to call it, how to write and colour it."""

    column: str
    title: str
    hover: str
    diverging: bool = False
    """Coloured around 0, in which case ``low`` is ``-high``."""
    low: float | None = None
    high: float | None = None
    tick: str = ""

    def around_zero(self, values: pd.Series) -> Quantity:
        """This quantity with ends as far below 0 as above, as far as ``values`` reach."""
        reach = float(values.abs().max()) or 1.0
        return replace(self, low=-reach, high=reach)


SPARSITY = Quantity("sparsity", "Sparsity", ".2%", low=0.0, high=1.0, tick=".0%")
MISSED = Quantity("missed", "Achieved less target", "+.3%", diverging=True, tick="+.2%")
EMPTY_OUTPUTS = Quantity("empty_outputs", "Outputs without a weight", ",.0f", low=0.0)
DEAD_INPUTS = Quantity("dead_inputs", "Dead inputs", ",.0f", low=0.0)
EMPTY_INPUTS = Quantity("empty_inputs", "Inputs without a weight", ",.0f", low=0.0)
ERROR = Quantity("error", "Reconstruction error", ".2%", low=0.0, tick=".0%")


def module_grid(
    table: pd.DataFrame,
    quantity: Quantity,
    blocks: int,
    labels: list[str],
    selected: tuple[int, str] | None = None,
) -> go.Figure:
    """A heatmap of ``quantity``, whose cells can be clicked; cells without a row in ``table`` stay empty.

    Plotly reports no click on a heatmap's cell, so transparent markers over the cells take it.
    """
    values = table.pivot(index="label", columns="block", values=quantity.column)
    values = values.reindex(index=labels, columns=range(blocks))
    cells = table[["block", "label", quantity.column]].dropna()  # Plotly would write a missing value as 0
    heatmap = {
        "type": "heatmap",
        "z": values.to_numpy(),
        "x": list(range(blocks)),
        "y": labels,
        "zmin": quantity.low,
        "zmax": quantity.high,
        "colorscale": palette.DIVERGING if quantity.diverging else palette.SEQUENTIAL,
        "colorbar": {"title": {"text": quantity.title, "side": "right"}, "tickformat": quantity.tick, "thickness": 14},
        "xgap": 1,
        "ygap": 1,
        "hoverinfo": "skip",
    }
    targets = {
        "type": "scatter",
        "x": cells.block.tolist(),
        "y": cells.label.tolist(),
        "mode": "markers",
        "marker": {"symbol": "square", "size": 18, "opacity": 0},
        "selected": {"marker": {"opacity": 0}},
        "unselected": {"marker": {"opacity": 0}},
        "customdata": cells.to_numpy().tolist(),
        "hovertemplate": f"block %{{x}}, %{{y}}<br>{quantity.title} %{{customdata[2]:{quantity.hover}}}<extra></extra>",
        "showlegend": False,
    }
    # Ranges are fixed: autorange would make room for the markers and shift the cells.
    layout = {
        "height": 110 + 30 * len(labels),
        "margin": {"l": 10, "r": 10, "t": 10, "b": 45},
        "hovermode": "closest",
        "hoverdistance": -1,
        "clickmode": "event+select",
        "dragmode": False,
        "shapes": _frame(labels, selected),
        "xaxis": {"title": "Decoder block", "range": [-0.5, blocks - 0.5], "showgrid": False, "zeroline": False},
        "yaxis": {"range": [len(labels) - 0.5, -0.5], "showgrid": False, "zeroline": False, "automargin": True},
    }
    return go.Figure([heatmap, targets], layout)


def _frame(labels: list[str], selected: tuple[int, str] | None) -> list[dict[str, Any]]:
    """The frame around the selected cell."""
    if selected is None or selected[1] not in labels:
        return []
    block, row = selected[0], labels.index(selected[1])
    corners = {"x0": block - 0.5, "x1": block + 0.5, "y0": row - 0.5, "y1": row + 0.5}
    return [{"type": "rect", **corners, "line": {"color": palette.SELECTED, "width": 3}}]


def clicked_module(event: object) -> tuple[int, str] | None:
    """The (block, label) of a click on a module grid; None for the empty selection that a second click delivers."""
    points = event["selection"]["points"] if event else []  # type: ignore[index]
    if not points:
        return None
    block, label, _ = points[0]["customdata"]
    return int(block), str(label)
