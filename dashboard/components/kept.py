"""Sweeps and measurements of the store: how much there is of them, and how to get rid of it."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.store import Run, SweepRecord
from core.upkeep import folder_size, forget, kept
from dashboard.components import cache, shell, state, text


def sweeps() -> None:
    """All sweeps with their points; a selected one can be opened or deleted."""
    store = cache.store()
    records = store.sweeps.all()
    if not records:
        st.info("No sweep yet. The Curves page builds one: many runs along a few axes.", icon=":material/info:")
        st.page_link(shell.CURVES, label="Build a sweep", icon=":material/show_chart:")
        return
    rows = []
    for record in records:
        progress = store.sweeps.progress(record.id)
        rows.append(
            {
                "name": record.name,
                "model": record.sweep.base.model.label,
                "finished": f"{progress.finished} of {len(progress.points)}",
                "state": ", ".join(f"{count} {state}" for state, count in progress.counts.items()),
                "size": text.size(sum(folder_size(store.folder(point.run_id)) for point in progress.points)),
                "created": text.when(record.created_at),
                "id": record.id,
            }
        )
    chosen = _table(rows, "sweeps", {"size": "Size of its runs", "finished": "Runs finished", "state": "Runs by state"})
    if len(chosen) == 1 and st.button("Open on the Curves page", icon=":material/show_chart:", type="primary"):
        state.open_sweep(records[chosen[0]].id, shell.CURVES)
    if chosen:
        _delete_sweeps([records[row] for row in chosen])
    else:
        st.caption("Select rows to open or delete sweeps. Two sweeps may share runs; each then counts them.")


def _delete_sweeps(records: Sequence[SweepRecord]) -> None:
    store = cache.store()
    with st.popover(f"Delete {len(records)} …", icon=":material/delete:"):
        st.write("The sweep is forgotten; its runs stay, unless you have them deleted too.")
        with_runs = st.checkbox("Delete their runs too, with masks, weights and figures", key="with_runs")
        if st.button("Delete", type="primary", key="delete_sweeps"):
            ids = {run.id for record in records for run in store.sweeps.runs(record.id)} if with_runs else set()
            with st.spinner("Deleting …"):
                for record in records:
                    store.sweeps.delete(record.id)
                for run_id in ids:
                    store.delete(run_id)
            state.forget_runs(sorted(ids))


def measurements(runs: Sequence[Run]) -> None:
    """All that was measured beside the runs."""
    found = kept(cache.store(), runs)
    if not found:
        st.info(
            "Nothing was measured yet beside the runs. Spectra, allocations, texts and tasks are measured where pages ask "
            "for them.",
            icon=":material/info:",
        )
        st.page_link(shell.SPECTRA, label="Which layers are heavy-tailed?", icon=":material/ssid_chart:")
        return
    rows = [
        {"name": one.name, "state": one.status, "size": text.size(one.bytes), "since": text.when(one.since)}
        for one in found
    ]
    chosen = _table(rows, "measurements", {"name": "What", "state": "Status", "since": "Since"})
    total = text.size(sum(one.bytes for one in found))
    st.caption(
        f"{len(found)} measurements, {total} in all. What is deleted is measured again when a page or run needs it."
    )
    if chosen and st.button(f"Delete {len(chosen)} selected", icon=":material/delete:", type="primary"):
        with st.spinner("Deleting …"):
            for row in chosen:
                forget(cache.store(), found[row])
        cache.forget_measured()
        st.rerun()


def _table(rows: Sequence[dict[str, str]], key: str, titles: dict[str, str]) -> list[int]:
    """The places of the rows that are selected."""
    config = {name: titles.get(name, name.capitalize()) for name in rows[0]}
    event = st.dataframe(
        pd.DataFrame(rows),
        key=f"{key} {hash(tuple(row.get('id', row['name']) for row in rows))}",
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        column_config=config,
    )
    return [row for row in event["selection"]["rows"] if row < len(rows)]
