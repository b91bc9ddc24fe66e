"""One value for each module, blocks from left to right, modules from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
_TOP, _BOTTOM, _RIGHT = 10, 48, 96  # pixels around the cells; the colour bar is to the right of them
_LETTER = 6.7  # pixels that a letter of a label takes, on average


def module_grid(
    table: pd.DataFrame, quantity: Quantity, blocks: int, labels: list[str], generation: int = 0
) -> go.Figure:
    """A heatmap of ``quantity``, whose cells can be clicked; cells without a row in ``table`` stay empty.

    Plotly reports no click on a heatmap's cell, so transparent markers over the cells take it. Which cell is selected is
    not the chart's matter (see :func:`frame`): it need not be drawn anew at each click. Another ``generation`` is another
    chart, of which no cell has been clicked.
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
    # Ranges are fixed: autorange would make room for the markers and shift the cells. So are margins: where Plotly finds
    # them itself it draws everything twice, and nobody but it knows where the cells are.
    layout = {
        "height": _height(labels),
        "margin": {"l": _left(labels), "r": _RIGHT, "t": _TOP, "b": _BOTTOM, "autoexpand": False},
        "hovermode": "closest",
        "hoverdistance": -1,
        "clickmode": "event+select",
        "dragmode": False,
        "meta": generation,
        "xaxis": {
            "title": "Decoder block",
            "range": [-0.5, blocks - 0.5],
            "showgrid": False,
            "zeroline": False,
            "automargin": False,
        },
        "yaxis": {"range": [len(labels) - 0.5, -0.5], "showgrid": False, "zeroline": False, "automargin": False},
    }
    return go.Figure([heatmap, targets], layout)


def frame(blocks: int, labels: list[str], block: int, label: str) -> str:
    """Where the cell of a module lies in the chart, as CSS."""
    left, row = _left(labels), (_height(labels) - _TOP - _BOTTOM) / len(labels)
    width = f"(100% - {left + _RIGHT}px) / {blocks}"
    return (
        f"left: calc({left}px + {width} * {block}); width: calc({width}); "
        f"top: {_TOP + row * labels.index(label):.2f}px; height: {row:.2f}px"
    )


def _left(labels: list[str]) -> int:
    return 16 + round(_LETTER * max(map(len, labels)))


def _height(labels: list[str]) -> int:
    return 110 + 30 * len(labels)


def clicked_module(event: object) -> tuple[int, str] | None:
    """The (block, label) of a click on a module grid; None for the empty selection that a second click delivers."""
    points = event["selection"]["points"] if event else []  # type: ignore[index]
    if not points:
        return None
    block, label, _ = points[0]["customdata"]
    return int(block), str(label)
