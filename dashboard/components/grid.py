"""The clickable grid of modules as pages place it: chart, selection, data to download."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from dashboard.components import plot, state
from dashboard.components.charts.grid import Quantity, clicked_module, module_grid


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
    chosen = (selection.block, selection.label) if selection.block is not None and selection.label is not None else None
    plot.show(
        module_grid(table, quantity, blocks, labels, chosen),
        key,
        on_select=lambda: _select(key),
        selection_mode="points",
        alt=f"{quantity.title} of every module: blocks 0 to {blocks - 1} from left to right, "
        f"{', '.join(labels)} from top to bottom. {_extremes(table, quantity)}",
    )
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


def _select(key: str) -> None:
    if module := clicked_module(st.session_state[key]):
        state.select_module(*module)


def _extremes(table: pd.DataFrame, quantity: Quantity) -> str:
    table = table.dropna(subset=[quantity.column])
    if table.empty:
        return "Nothing is known yet."
    low, high = table.loc[table[quantity.column].idxmin()], table.loc[table[quantity.column].idxmax()]
    return f"Lowest {low[quantity.column]:.3g} in {low.module}, highest {high[quantity.column]:.3g} in {high.module}."
