"""All runs as a table: filtered by words, status and model; one row or several chosen."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.store import Run
from dashboard.components import text

_STATUSES = ("queued", "running", "finished", "failed", "cancelled", "interrupted")


def choose(runs: Sequence[Run]) -> list[Run]:
    """Draws filter and table; returns the runs of the rows that are selected."""
    shown = _filtered(runs)
    if not shown:
        st.info("No run matches. Change the words, or clear the filter.", icon=":material/filter_alt_off:")
        return []
    table = _table(shown)
    event = st.dataframe(
        table,
        key=table_key(shown),
        hide_index=True,
        placeholder="–",
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "name": "Name",
            "model": "Model",
            "status": "Status",
            "attempts": "Attempts",
            "run": "Run",
            "sparsity": st.column_config.NumberColumn("Sparsity", format="percent"),
            "dense": st.column_config.NumberColumn("Perplexity, dense", format="%.2f"),
            "pruned": st.column_config.NumberColumn("Perplexity, pruned", format="%.2f"),
            "measured on": "Measured on",
            "seconds": st.column_config.NumberColumn("Seconds", format="%.1f"),
            "submitted": st.column_config.DatetimeColumn("Submitted", format="YYYY-MM-DD HH:mm"),
            "weights": st.column_config.TextColumn("Weights kept"),
        },
    )
    words = f"{len(shown):,} of {len(runs):,} runs" if len(shown) < len(runs) else f"{len(runs):,} runs"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{words}, the latest first. Click a column's head to sort.", width="content")
        st.download_button(
            "Table of runs (CSV)",
            lambda: table.to_csv(index=False),
            "runs.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
    return [shown[row] for row in event["selection"]["rows"] if row < len(shown)]


def table_key(shown: Sequence[Run]) -> str:
    """The places of the selected rows are kept under it, so another set of rows has another key."""
    return f"runs_table {hash(tuple(run.id for run in shown))}"


def _filtered(runs: Sequence[Run]) -> list[Run]:
    left, middle, right = st.columns([3, 2, 2])
    with left:
        words = st.text_input(
            "Filter",
            key="filter",
            bind="query-params",
            placeholder="Words of name, model, method, stage or run",
            help="Every word must occur in a run's name, model, method, pattern, allocation, stages or id.",
        )
    with middle:
        statuses = st.multiselect("Status", _STATUSES, key="status", bind="query-params", placeholder="All")
    with right:
        labels = sorted({run.config.model.label for run in runs})
        models = st.multiselect("Model", labels, key="models", bind="query-params", placeholder="All")
    return matching(runs, words, statuses, models)


def matching(runs: Sequence[Run], words: str, statuses: Sequence[str], models: Sequence[str]) -> list[Run]:
    """Runs that hold every one of the ``words``, and have one of the statuses and models, where these are named."""
    wanted = words.lower().split()
    return [
        run
        for run in runs
        if (not statuses or run.status in statuses)
        and (not models or run.config.model.label in models)
        and (not wanted or all(word in _words(run) for word in wanted))
    ]


def _words(run: Run) -> str:
    config = run.config
    parts = (config.method, config.allocation, *config.stages)
    named = (part for one in parts for part in (one.name, one.title))
    return " ".join((run.name, run.id, config.model.label, config.pattern.label, *named)).lower()


def _table(runs: Sequence[Run]) -> pd.DataFrame:
    table = pd.DataFrame([_row(run) for run in runs])
    return table.assign(submitted=pd.to_datetime(table.submitted, unit="s", utc=True))


def _row(run: Run) -> dict[str, object]:
    result = run.result
    return {
        "name": run.name,
        "model": run.config.model.label,
        "status": run.status,
        "sparsity": result and result.sparsity,
        "dense": result and result.dense_perplexity.value,
        "pruned": result and result.perplexity.value,
        "measured on": result and result.evaluated_on,
        "seconds": result and result.seconds,
        "submitted": run.attempt.submitted_at,
        "attempts": run.attempt.number,
        "weights": text.size(run.weights_bytes) if run.weights_bytes else "–",
        "run": run.id,
    }
