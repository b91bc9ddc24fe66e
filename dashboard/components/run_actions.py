"""What can be done with one run, and with several."""

from __future__ import annotations

import io
from collections.abc import Sequence

import streamlit as st

from core.errors import InputError, explain
from core.store import Run
from core.transfer import export_runs, export_size
from dashboard.components import cache, plan, shell, state, text

_LARGEST_DOWNLOAD = 200e6
"""Bytes; a download is made in the app's memory, and an upload may not be larger."""


def one(run: Run) -> None:
    """Open, repeat, change, rename, delete, export."""
    st.subheader(run.name)
    st.caption(
        f"Run `{run.id}` · {run.config.model.label} · attempt {run.attempt.number}: {run.status}. {run.attempt.message}"
    )
    with st.container(horizontal=True):
        if st.button("Open", icon=":material/open_in_new:", type="primary"):
            state.open_run(run.id, shell.PRUNE)
        if st.button("Repeat", icon=":material/replay:", disabled=run.attempt.active):
            _repeat(run)
        if st.button("Change …", icon=":material/tune:", help="Opens the Prune page's form with this run's config."):
            plan.open_form(run.config)
        with st.popover("Rename …", icon=":material/edit:"):
            _rename(run)
        with st.popover("Delete …", icon=":material/delete:"):
            st.write("Its masks, weights and figures are removed for good. It can be exported first.")
            if st.button("Delete this run", type="primary"):
                _delete([run])
        _export([run])
        st.download_button(
            "Config (JSON)",
            run.config.model_dump_json(indent=2),
            f"{run.id}.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
        )


def several(runs: Sequence[Run]) -> None:
    """Compare two, export, delete."""
    st.subheader(f"{len(runs)} runs selected")
    finished = [run for run in runs if run.result is not None]
    with st.container(horizontal=True):
        two = len(runs) == len(finished) == 2
        why = "Opens the Compare page with both." if two else "Select exactly two finished runs to compare them."
        if st.button("Compare", icon=":material/compare_arrows:", type="primary", disabled=not two, help=why):
            state.open_pair(runs[0].id, runs[1].id, shell.COMPARE)
        _export(finished)
        with st.popover("Delete …", icon=":material/delete:"):
            st.write(f"The masks, weights and figures of {len(runs)} runs are removed for good.")
            st.caption(", ".join(run.name for run in runs[:8]) + (" …" if len(runs) > 8 else ""))
            if st.button(f"Delete these {len(runs)} runs", type="primary"):
                _delete(runs)


def _repeat(run: Run) -> None:
    try:
        with st.spinner("Submitting …"):
            cache.jobs().submit(run.config)
    except InputError as error:
        st.error(explain(error))
    else:
        state.open_run(run.id, shell.PRUNE)


def _rename(run: Run) -> None:
    name = st.text_input("Name", run.name, key=f"name_{run.id}", max_chars=80).strip()
    if st.button("Rename", disabled=not name or name == run.name):
        cache.store().rename(run.id, name)
        st.rerun()


def _delete(runs: Sequence[Run]) -> None:
    with st.spinner("Deleting …"):
        for run in runs:
            cache.store().delete(run.id)
    state.forget_runs([run.id for run in runs])


def _export(runs: Sequence[Run]) -> None:
    """The runs as one file; what is too large to be downloaded is written by the command that is named."""
    if not runs:
        return
    store = cache.store()
    popover = st.popover("Export …", icon=":material/ios_share:", key="export", on_change="rerun")
    if not popover.open:
        return
    with popover:
        st.write("One file with config, figures, tables and masks, to import on another machine.")
        weights = False
        if kept := sum(run.weights_bytes for run in runs):
            weights = st.toggle(
                f"With updated weights ({text.size(kept)})",
                key="export_weights",
                help="Without them, a pruned model is pruned again from its config when it is needed.",
            )
        size = export_size(store, runs, weights)
        ids = tuple(run.id for run in runs)
        if size > _LARGEST_DOWNLOAD:
            st.info(
                f"{text.size(size)} are too many for a browser; this writes the same file:", icon=":material/terminal:"
            )
            flag = "" if weights else " --no-weights"
            st.code(f"python -m core runs export{flag} {' '.join(ids)} runs.zip", language="bash", wrap_lines=True)
            return
        st.download_button(
            f"Download ({text.size(size)})",
            lambda: _file(ids, weights),
            f"{ids[0]}.zip" if len(ids) == 1 else "runs.zip",
            "application/zip",
            icon=":material/download:",
            on_click="ignore",
        )


def _file(ids: Sequence[str], weights: bool) -> bytes:
    file = io.BytesIO()
    export_runs(cache.store(), ids, file, weights)
    return file.getvalue()
