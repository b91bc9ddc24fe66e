"""The clickable grid of modules as pages place it: chart, selection, data to download."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from dashboard.components import plot, state
from dashboard.components.charts.grid import Quantity, clicked_module, frame, module_grid
from dashboard.components.charts.palette import SELECTED


def show(
    table: pd.DataFrame,
    quantity: Quantity,
    selection: state.Selection,
    key: str,
    caption: str,
    blocks: int | None = None,
    labels: list[str] | None = None,
) -> None:
    """Draws ``quantity`` of every module; a click selects the module on all pages."""
    blocks = blocks or int(table.block.max()) + 1
    labels = labels or table.label.unique().tolist()
    shown = table[["block", "label", quantity.column]]
    with st.container(key=f"framed_{key}"):
        plot.show(
            partial(module_grid, shown, quantity, blocks, labels, _generation(key, selection)),
            key,
            on_select=lambda: _select(key),
            selection_mode="points",
            alt=f"{quantity.title} of every module: blocks 0 to {blocks - 1} from left to right, "
            f"{', '.join(labels)} from top to bottom. {_extremes(table, quantity)}",
        )
        block, label = selection.block, selection.label
        if block is not None and block < blocks and label is not None and label in labels:
            place = frame(blocks, labels, block, label)
            st.html(f'<div class="module-frame" style="{place}; border-color: {plot.color(SELECTED)}"></div>')
    st.caption(caption)


_EARLIER_BASES = {"gram": "all calibration tokens", "sample": "the first 256 calibration tokens"}
"""What runs of earlier versions call it."""


def error_caption(table: pd.DataFrame) -> str:
    """What the reconstruction errors of a run were measured on."""
    return f"{error_note(table)} Click a cell to select the module."


def error_note(table: pd.DataFrame) -> str:
    """The same without what can be done on a page."""
    bases = {_EARLIER_BASES.get(basis, basis) for basis in table.error_basis}
    return f"How far each module's output moved, |X(W − W′)ᵀ| ÷ |XWᵀ|, on {' or '.join(sorted(bases))}."


def _generation(key: str, selection: state.Selection) -> int:
    """Another one where another module was selected elsewhere since the click that the chart remembers.

    Else a click on that module again would take the click back, and not select it.
    """
    generations = st.session_state.setdefault("_generations", {})
    clicked = clicked_module(st.session_state.get(key))
    if clicked is not None and clicked != (selection.block, selection.label):
        generations[key] = generations.get(key, 0) + 1
    generation: int = generations.get(key, 0)
    return generation


def _select(key: str) -> None:
    if module := clicked_module(st.session_state[key]):
        state.select_module(*module)


def _extremes(table: pd.DataFrame, quantity: Quantity) -> str:
    table = table.dropna(subset=[quantity.column])
    if table.empty:
        return "Nothing is known yet."
    low, high = table.loc[table[quantity.column].idxmin()], table.loc[table[quantity.column].idxmax()]
    return f"Lowest {low[quantity.column]:.3g} in {low.module}, highest {high[quantity.column]:.3g} in {high.module}."
