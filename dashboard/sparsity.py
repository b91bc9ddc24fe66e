"""Where did the zeros go?"""

import pandas as pd
import streamlit as st

from core.figures import by_block
from core.store import Run
from dashboard.components import cache, first_run, grid, plot, state, text
from dashboard.components.charts.grid import ERROR, SPARSITY
from dashboard.components.charts.sparsity import line_histogram, sparsity_by_block

_SPARSITY_CAPTION = (
    "Share of each module's weights that the keep mask prunes. Click a cell to select the module on every page."
)


def render() -> None:
    st.title("Where did the zeros go?")
    selection = state.sidebar()
    run = selection.run
    if run is None or run.result is None:
        _empty(run)
        return
    table = cache.modules(run)
    _figures(run, table)
    _grid(table, selection)
    _module(run, table, selection)
    st.subheader("Target and achieved, by block")
    plot.show(
        sparsity_by_block(by_block(table)),
        "sparsity_bars",
        alt="Bars of the achieved sparsity of each decoder block with its target as a mark.",
    )
    st.caption("Weighted by parameters. The mark is what the allocation asked for, the bar what the masks hold.")
    st.download_button(
        "Table of modules (CSV)",
        table.to_csv(index=False),
        f"{run.id}-modules.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _empty(run: Run | None) -> None:
    if run is None:
        first_run.empty("No run is selected. Choose one in the sidebar, or prune a model first.")
    else:
        first_run.empty(f"This run is {run.status}, so there are no masks to show yet. {run.attempt.message}")


def _figures(run: Run, table: pd.DataFrame) -> None:
    result = run.result
    assert result is not None
    dead = int(table.dead_inputs.sum())
    with st.container(horizontal=True):
        st.metric(
            "Sparsity",
            text.percent(result.sparsity),
            help="Share of the prunable weights that are pruned.",
            width="content",
        )
        st.metric("Target", text.percent(result.target_sparsity), width="content")
        st.metric(
            "Weights pruned",
            text.count(result.pruned),
            help=f"{result.pruned:,} of {result.parameters:,}.",
            width="content",
        )
        st.metric(
            "Dead inputs",
            f"{dead:,}",
            help="Inputs that were zero for every calibration token; not counted as pruned.",
            width="content",
        )


def _grid(table: pd.DataFrame, selection: state.Selection) -> None:
    st.subheader("Every module")
    quantities = {quantity.column: quantity for quantity in (SPARSITY, ERROR)}
    column = st.segmented_control(
        "Colour shows",
        list(quantities),
        default=SPARSITY.column,
        required=True,
        format_func=lambda column: quantities[column].title,
        key="colour",
        bind="query-params",
    )
    caption = _SPARSITY_CAPTION if column == SPARSITY.column else grid.error_caption(table)
    grid.show(table, quantities[column], selection, "sparsity_grid", caption)


def _module(run: Run, table: pd.DataFrame, selection: state.Selection) -> None:
    chosen = table[(table.block == selection.block) & (table.label == selection.label)]
    if chosen.empty:
        return
    module = chosen.iloc[0]
    st.subheader(f"{module.module}")
    st.caption(
        f"{module.rows:,} outputs × {module.columns:,} inputs · target {text.percent(module.target)} · "
        f"achieved {text.percent(module.sparsity)} ({module.pruned:,} weights) · reconstruction error {text.percent(module.error)}"
    )
    if module.get("rank", 0) > 0:
        st.info(
            f"This module was replaced by two factors of rank {module['rank']:.0f}: no zeros are left in it, but it holds "
            f"{text.count(module.factored_parameters)} weights in the place of {text.count(module.parameters)}.",
            icon=":material/info:",
        )
        return
    rows, columns = cache.line_sparsity(run, module.module)
    left, right = st.columns(2, gap="large")
    for place, values, kind in ((left, rows, "rows (outputs)"), (right, columns, "columns (inputs)")):
        with place:
            plot.show(
                line_histogram(values, kind),
                f"histogram_{kind}",
                alt=f"Histogram of the sparsity of the {kind}: from {values.min():.3g} to {values.max():.3g}.",
            )
    st.caption(
        "A method that compares within each row prunes every row alike, so its rows form a single bar; "
        "columns show which inputs it gives up."
    )


render()
