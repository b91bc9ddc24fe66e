"""What is selected, on every page and in the URL: a run, and one module of it (block and label)."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from core.store import Run
from pages.components import cache, text

_MARKS = {
    "queued": "⏳ queued",
    "running": "▶ running",
    "finished": "✓",
    "failed": "✗ failed",
    "cancelled": "– cancelled",
    "interrupted": "⚠ interrupted",
}


@dataclass(frozen=True)
class Selection:
    """The selected run, if any, and the block and label of the selected module."""

    run: Run | None
    block: int | None
    label: str | None


def select_run(run_id: str | None) -> None:
    """Selects a run from the next rerun on, and reruns."""
    st.session_state["_next_run"] = run_id
    st.rerun(scope="app")


def select_module(block: int, label: str) -> None:
    """Selects a module; to be called from a callback, before the sidebar is drawn."""
    st.session_state["block"], st.session_state["module"] = block, label


def sidebar() -> Selection:
    """Draws the shared selection and returns it; says so where a link names what does not exist."""
    runs = {run.id: run for run in cache.store().runs()}
    _adopt_selection(runs)
    with st.sidebar:
        st.selectbox(
            "Run",
            list(runs),
            index=None,
            key="run",
            bind="query-params",
            format_func=lambda run_id: title(runs[run_id]) if run_id in runs else run_id,
            placeholder="Choose a run" if runs else "No run yet",
            help="The run that all pages show. It is part of the address: copy the link to share it.",
        )
        run = runs.get(st.session_state["run"])
        block, label = _module_choice(run)
        if run is not None:
            _summary(run)
    return Selection(run, block, label)


def _adopt_selection(runs: dict[str, Run]) -> None:
    if "_next_run" in st.session_state:
        st.session_state["run"] = st.session_state.pop("_next_run")
    elif "run" not in st.session_state:
        linked = st.query_params.get("run")
        if linked and linked not in runs:
            st.session_state["_lost_run"] = linked
        elif not linked and runs:
            st.session_state["run"] = next(iter(runs))
    elif st.session_state["run"] is not None and st.session_state["run"] not in runs:
        st.session_state["_lost_run"] = st.session_state["run"]
        st.session_state["run"] = None
    if lost := st.session_state.pop("_lost_run", None):
        st.warning(
            f"The run {lost} does not exist here; it may have been deleted. Choose another run in the sidebar.",
            icon=":material/link_off:",
        )


def _module_choice(run: Run | None) -> tuple[int | None, str | None]:
    if run is None or run.result is None:
        return None, None
    table = cache.modules(run)
    blocks, labels = sorted(table.block.unique().tolist()), table.label.unique().tolist()
    if st.session_state.get("block") not in [None, *blocks]:
        del st.session_state["block"]
    if st.session_state.get("module") not in [None, *labels]:
        del st.session_state["module"]
    left, right = st.columns([1, 2])
    block = left.selectbox("Block", blocks, key="block", bind="query-params")
    label = right.selectbox("Module", labels, key="module", bind="query-params")
    return block, label


def title(run: Run) -> str:
    """A run in a list: what, on which model, when, how it stands."""
    return f"{run.name} · {run.config.model.label} · {text.when(run.attempt.submitted_at)} {_MARKS[run.status]}"


def _summary(run: Run) -> None:
    config = run.config
    st.caption(
        f"**{config.model.label}** · {config.method.title} · {config.pattern.label} · "
        f"{text.percent(config.sparsity)} · {config.allocation.title} allocation · run `{run.id}`"
    )
