"""Where did the zeros go?"""

from functools import partial

import pandas as pd
import streamlit as st

from core.figures import by_block
from core.patterns import NM
from core.store import Run
from dashboard.components import cache, first_run, grid, options, plot, state, text
from dashboard.components.charts.grid import (
    DEAD_INPUTS,
    EMPTY_INPUTS,
    EMPTY_OUTPUTS,
    ERROR,
    MISSED,
    SPARSITY,
    Quantity,
)
from dashboard.components.charts.sparsity import form_bars, line_histogram, target_bars

_CLICK = "Click a cell to select the module on every page."
_EXPLAINED = {
    "sparsity": "Share of each module's weights that the keep mask prunes.",
    "missed": "What the masks hold less what the allocation asked for; rows and groups lose whole weights, so a little is left.",
    "empty_outputs": "Rows of the mask without a survivor: such an output is 0 (or its bias) whatever comes in.",
    "empty_inputs": "Columns of the mask without a survivor: this module no longer reads such an input.",
    "dead_inputs": "Inputs that were zero for every calibration token; not counted as pruned.",
}
_FORMS = {
    "dense": "every weight",
    "bitmask": "a bit a weight, and the survivors",
    "CSR": "each survivor with its column, 4 bytes",
}


def render() -> None:
    st.title("Where did the zeros go?")
    selection = state.sidebar()
    run = selection.run
    if run is None or run.result is None:
        _empty(run)
        return
    pattern = _looked_for(run)
    table = cache.structure(run, pattern.n, pattern.m)
    table = table.assign(missed=(table.sparsity - table.target).where(_masked(table)))
    _figures(run, table)
    _grid(table, selection, pattern)
    _module(run, table, selection, pattern)
    _targets(table, selection)
    _forms(run, table, pattern)
    st.download_button(
        "Table of modules (CSV)",
        lambda: table.to_csv(index=False),
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


def _looked_for(run: Run) -> NM:
    """The N:M pattern that masks are held against: the run's own; 2:4, which hardware knows, where it has none."""
    return run.config.pattern if isinstance(run.config.pattern, NM) else NM(n=2, m=4)


def _masked(table: pd.DataFrame) -> pd.Series:
    """Where a module has a mask, not having been replaced by factors."""
    return table.empty_outputs.notna()


def _figures(run: Run, table: pd.DataFrame) -> None:
    result = run.result
    assert result is not None
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
        for quantity in (DEAD_INPUTS, EMPTY_INPUTS, EMPTY_OUTPUTS):
            st.metric(
                quantity.title,
                f"{table[quantity.column].sum():,.0f}",
                help=_EXPLAINED[quantity.column],
                width="content",
            )
    st.caption(
        f"From the keep masks of run `{run.id}` · {run.config.model.label} · calibrated on {result.calibrated_on}"
    )


def _grid(table: pd.DataFrame, selection: state.Selection, pattern: NM) -> None:
    st.subheader("Every module")
    fits = Quantity("fitting", f"Groups that fit {pattern.label}", ".2%", low=0.0, high=1.0, tick=".0%")
    every = (SPARSITY, MISSED, ERROR, fits, EMPTY_OUTPUTS, EMPTY_INPUTS, DEAD_INPUTS)
    quantities = {quantity.column: quantity for quantity in every if table[quantity.column].notna().any()}
    titles = {column: quantity.title for column, quantity in quantities.items()}
    column = options.segments("Colour shows", "colour", titles, SPARSITY.column)
    if column == ERROR.column:
        caption = grid.error_caption(table)
    elif column == fits.column:
        caption = (
            f"Share of the groups of {pattern.m} consecutive inputs with at most {pattern.n} survivors. Only where it is 100 % "
            f"can a module be stored and run as {pattern.label}. {_CLICK}"
        )
    else:
        caption = f"{_EXPLAINED[column]} {_CLICK}"
    quantity = quantities[column]
    if quantity.diverging:
        quantity = quantity.around_zero(table[column])
    grid.show(table, quantity, selection, "sparsity_grid", caption)


def _module(run: Run, table: pd.DataFrame, selection: state.Selection, pattern: NM) -> None:
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
    if module.fitting == 1:
        st.caption(
            f":material/check: Every group of {pattern.m} inputs has at most {pattern.n} survivors: {pattern.label}."
        )
    elif module.fitting == module.fitting:
        st.caption(f"{module.fitting:.2%} of its groups fit {pattern.label}.")
    rows, columns = cache.line_sparsity(run, module.module)
    left, right = st.columns(2, gap="large")
    for place, values, kind in ((left, rows, "rows (outputs)"), (right, columns, "columns (inputs)")):
        with place:
            plot.show(
                partial(line_histogram, values, kind),
                f"histogram_{kind}",
                alt=f"Histogram of the sparsity of the {kind}: from {values.min():.3g} to {values.max():.3g}.",
            )
    st.caption(
        "A method that compares within each row prunes every row alike, so its rows form a single bar; "
        "columns show which inputs it gives up."
    )


def _targets(table: pd.DataFrame, selection: state.Selection) -> None:
    st.subheader("Target and achieved")
    titles = {"blocks": "All blocks"}
    if selection.block is not None:
        titles |= {"block": f"Modules of block {selection.block}", "depth": f"{selection.label} over depth"}
    along = options.segments("Show", "targets", titles, "blocks")
    if along == "block":
        shown, names, axis = table[table.block == selection.block], "label", f"Module of block {selection.block}"
    elif along == "depth":
        shown, names, axis = table[table.label == selection.label], "block", "Decoder block"
    else:
        shown, names, axis = by_block(table), "block", "Decoder block"
    plot.show(
        partial(target_bars, shown[names].astype(str).tolist(), shown.sparsity.tolist(), shown.target.tolist(), axis),
        "sparsity_bars",
        alt=f"Bars of the achieved sparsity by {axis.lower()}, from {shown.sparsity.min():.1%} to {shown.sparsity.max():.1%}, "
        "with the target as a mark.",
    )
    st.caption("Weighted by parameters. The mark is what the allocation asked for, the bar what the masks hold.")


def _forms(run: Run, table: pd.DataFrame, pattern: NM) -> None:
    st.subheader("What it takes to store")
    result = run.result
    assert result is not None
    sizes = {name: float(table[f"bytes {name}"].sum(skipna=False)) for name in (*_FORMS, pattern.label)}
    if result.packed_bytes is not None:
        sizes["rounded"] = float(result.packed_bytes)
    held = {name: size for name, size in sizes.items() if size == size}
    plot.show(
        partial(form_bars, held),
        "forms",
        alt="Size of the prunable modules: "
        + ", ".join(f"{name} {text.size(int(size))}" for name, size in held.items()),
    )
    words = [f"{name}: {meaning}" for name, meaning in _FORMS.items()]
    if pattern.label in held:
        words.append(f"{pattern.label}: {pattern.n} values of every {pattern.m} with their places")
    if "rounded" in held:
        words.append("rounded: the survivors in few bits, their grids, and the bitmask")
    st.caption(f"At {result.dense_bytes // result.parameters} bytes a weight. " + "; ".join(words) + ".")
    if pattern.label not in held:
        whole = int((table.fitting == 1).sum())
        st.caption(
            f"As {pattern.label} it cannot be stored: {whole} of {len(table)} modules fit that pattern in every group. "
            f"Prune with the pattern {pattern.label} for that."
        )


render()
