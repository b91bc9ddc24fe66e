"""How far a sweep is: points by state, what runs now, what failed and why; cancel and resume."""

from __future__ import annotations

import streamlit as st

from core.errors import InputError, explain
from core.store.sweep_records import SweepProgress, SweepRecord
from dashboard.components import cache


def show(record: SweepRecord, progress: SweepProgress) -> None:
    """Bar, words and buttons; nothing but a line once all is done."""
    total = len(progress.points)
    if progress.complete:
        st.caption(f":material/check: All {total} runs of this sweep are finished.")
        return
    counts = ", ".join(f"{count} {state}" for state, count in progress.counts.items())
    st.progress(progress.finished / total, f"{progress.finished} of {total} runs finished ({counts})")
    for point in progress.running:
        name = cache.store().run(point.run_id).name
        known = f": {point.phase_done} of {point.phase_total}" if point.phase_total else ""
        st.caption(" · ".join(filter(None, [f"Now **{name}**", f"{point.phase or 'Starting'}{known}", point.message])))
    for reason, count in progress.failures.items():
        st.error(f"{count} failed: {reason}", icon=":material/error:")
    _buttons(record, progress)


def _buttons(record: SweepRecord, progress: SweepProgress) -> None:
    stopped = progress.active and cache.store().sweeps.is_stopped(record.id)
    if stopped:
        active = sum(point.active for point in progress.points)
        st.caption(f"Cancelled. {active} still under way: another sweep waits for them too, or they are just stopping.")
    with st.container(horizontal=True):
        if progress.active:
            st.button(
                "Cancel the sweep",
                icon=":material/stop:",
                on_click=cache.store().sweeps.cancel,
                args=[record.id],
                help="What is finished stays, and what another sweep waits for too goes on; resume runs the rest.",
                disabled=stopped,
            )
        if due := len(progress.due):
            st.button(
                f"Resume ({due} to run)",
                type="primary",
                icon=":material/play_arrow:",
                on_click=_resume,
                args=[record.id],
                help="Runs what is neither finished nor under way: cancelled, failed, interrupted or deleted runs.",
            )
    if problem := st.session_state.pop("_resume_problem", None):
        st.error(problem, icon=":material/error:")


def _resume(sweep_id: str) -> None:
    try:
        cache.jobs().resume_sweep(sweep_id)
    except InputError as error:
        st.session_state["_resume_problem"] = explain(error)
