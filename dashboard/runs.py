"""All runs: what they were, how they ended, and what to do with them."""

import pandas as pd
import streamlit as st

from core.errors import InputError, explain
from core.store import Run
from dashboard.components import cache, plan, shell, state, text


def render() -> None:
    st.title("Runs")
    selection = state.sidebar()
    cache.store().reconcile()
    runs = cache.store().runs()
    if not runs:
        st.info("Nothing was pruned yet. The first run takes about a minute.", icon=":material/info:")
        st.page_link(shell.PRUNE, label="Prune a model", icon=":material/content_cut:")
        return
    st.caption("Select a row to open, repeat or delete the run. Every run can be repeated exactly from its config.")
    chosen = _table(runs)
    if chosen is not None:
        _actions(chosen)
    elif selection.run is not None:
        _actions(selection.run)
    _worker()


def _table(runs: list[Run]) -> Run | None:
    rows = pd.DataFrame(_row(run) for run in runs)
    event = st.dataframe(
        rows,
        key=f"runs_table {len(runs)} {runs[0].id}",
        hide_index=True,
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "name": "Name",
            "model": "Model",
            "status": "Status",
            "attempts": "Attempts",
            "run": "Run",
            "sparsity": st.column_config.NumberColumn("Sparsity", format="percent"),
            "dense": st.column_config.NumberColumn("Perplexity, dense", format="%.2f"),
            "pruned": st.column_config.NumberColumn("Perplexity, pruned", format="%.2f"),
            "seconds": st.column_config.NumberColumn("Seconds", format="%.1f"),
            "submitted": st.column_config.DatetimeColumn("Submitted", format="YYYY-MM-DD HH:mm"),
            "weights": st.column_config.TextColumn("Weights kept"),
        },
    )
    st.download_button(
        "Table of runs (CSV)",
        rows.to_csv(index=False),
        "runs.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )
    selected = event["selection"]["rows"]
    return runs[selected[0]] if selected and selected[0] < len(runs) else None


def _row(run: Run) -> dict[str, object]:
    result = run.result
    return {
        "name": run.name,
        "model": run.config.model.label,
        "status": run.status,
        "sparsity": result and result.sparsity,
        "dense": result and result.dense_perplexity.value,
        "pruned": result and result.perplexity.value,
        "seconds": result and result.seconds,
        "submitted": pd.Timestamp(run.attempt.submitted_at, unit="s", tz="UTC"),
        "attempts": run.attempt.number,
        "weights": text.size(run.weights_bytes) if run.weights_bytes else "–",
        "run": run.id,
    }


def _actions(run: Run) -> None:
    st.subheader(run.name)
    st.caption(
        f"Run `{run.id}` · {run.config.model.label} · attempt {run.attempt.number}: {run.status}. {run.attempt.message}"
    )
    with st.container(horizontal=True):
        if st.button("Open", icon=":material/open_in_new:"):
            state.open_run(run.id, shell.PRUNE)
        if st.button("Repeat", icon=":material/replay:", disabled=run.attempt.active):
            _repeat(run)
        if st.button("Change …", icon=":material/tune:", help="Opens the Prune page's form with this run's config."):
            plan.open_form(run.config)
        with st.popover("Rename …", icon=":material/edit:"):
            name = st.text_input("Name", run.name, key=f"name_{run.id}", max_chars=80).strip()
            if st.button("Rename", disabled=not name or name == run.name):
                cache.store().rename(run.id, name)
                st.rerun()
        with st.popover("Delete …", icon=":material/delete:"):
            st.write("Its masks, weights and figures are removed for good. The config can be downloaded first.")
            if st.button("Delete this run", type="primary"):
                cache.store().delete(run.id)
                state.select_run(None)
        st.download_button(
            "Config (JSON)",
            run.config.model_dump_json(indent=2),
            f"{run.id}.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
        )


def _repeat(run: Run) -> None:
    try:
        with st.spinner("Submitting …"):
            cache.jobs().submit(run.config)
    except InputError as error:
        st.error(explain(error))
    else:
        state.open_run(run.id, shell.PRUNE)


def _worker() -> None:
    active = cache.store().active()
    running = [attempt for attempt in active if attempt.status == "running"]
    waiting = len(active) - len(running)
    st.caption(
        f"Workers: {len(cache.jobs().workers())} · running: {len(running)} · waiting: {waiting}. "
        "The same on the command line: `python -m core runs list`."
    )


render()
