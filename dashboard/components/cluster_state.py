"""Who works, on what, and what waits."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.settings import settings
from core.store import Attempt
from core.workers import Cluster
from dashboard.components import cache, text

_REFRESH_SECONDS = 2.0


@st.fragment(run_every=_REFRESH_SECONDS)
def live() -> None:
    """Workers and queue, read again every two seconds."""
    store = cache.store()
    store.reconcile()
    active = store.active()
    st.subheader("Workers", divider="gray")
    jobs = cache.started_jobs()
    if jobs is None:
        st.info("The worker is starting; that takes some seconds.", icon=":material/hourglass:")
    else:
        _workers(jobs.cluster(), active)
    st.subheader("Queue", divider="gray")
    _queue(active)


def summary() -> str:
    """In a line: how much runs and waits."""
    active = cache.store().active()
    running = sum(attempt.status == "running" for attempt in active)
    return f"{running} running, {len(active) - running} waiting"


def _cancel(attempts: Sequence[Attempt]) -> None:
    for attempt in attempts:
        cache.store().request_cancel(attempt.id)


def _workers(cluster: Cluster, active: Sequence[Attempt]) -> None:
    whose = "this program's own, on this machine" if cluster.local else "a cluster (`PRUNESCOPE_SCHEDULER`)"
    st.caption(f"Scheduler `{cluster.address}`: {whose}.")
    if not cluster.workers:
        st.warning(
            "No worker is connected, so nothing is done. It comes back by itself here; on a cluster, start one.",
            icon=":material/warning:",
        )
        return
    running = {attempt.id: attempt for attempt in active if attempt.status == "running"}
    rows = [
        {
            "address": worker.address,
            "at once": worker.threads,
            "memory": text.size(worker.memory),
            "limit": text.size(worker.memory_limit) if worker.memory_limit else "the machine's",
            "works on": "; ".join(_work(running[one]) for one in worker.attempts if one in running) or "nothing",
        }
        for worker in cluster.workers
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "address": "Worker",
            "at once": st.column_config.NumberColumn("Jobs at once"),
            "memory": "Memory used",
            "limit": "Memory limit",
            "works on": st.column_config.TextColumn("Works on", width="large"),
        },
    )

    handed = {one for worker in cluster.workers for one in worker.attempts}
    if elsewhere := [_name(attempt) for attempt in running.values() if attempt.id not in handed]:
        st.caption(f"Under way in another process, such as a command line: {', '.join(elsewhere)}.")


def _work(attempt: Attempt) -> str:
    known = f" {attempt.phase_done} of {attempt.phase_total}" if attempt.phase_total else ""
    elapsed = time.time() - (attempt.started_at or attempt.submitted_at)
    return f"{_name(attempt)} ({attempt.phase or 'Starting'}{known}, {text.seconds(elapsed)})"


def _name(attempt: Attempt) -> str:
    return str(cache.store().work(attempt).name)


def _queue(active: Sequence[Attempt]) -> None:
    if not active:
        st.caption("Nothing runs and nothing waits.")
        return
    waiting = [attempt for attempt in active if attempt.status == "queued"]
    ordered = [attempt for attempt in active if attempt.status == "running"] + waiting
    places = {attempt.id: str(place) for place, attempt in enumerate(waiting, start=1)}
    rows = [
        {
            "place": places.get(attempt.id, "runs"),
            "name": _name(attempt),
            "submitted": text.when(attempt.submitted_at),
            "run": attempt.run_id,
        }
        for attempt in ordered
    ]
    event = st.dataframe(
        pd.DataFrame(rows),
        key=f"queue {hash(tuple(attempt.id for attempt in ordered))}",
        hide_index=True,
        on_select="rerun",
        selection_mode="multi-row",
        column_config={"place": "Place", "name": "What", "submitted": "Submitted", "run": "Id"},
    )
    chosen = [ordered[row] for row in event["selection"]["rows"] if row < len(ordered)]
    order = "In the order of submission; the points of a sweep go after single runs."
    if settings().scheduler:
        order += " Other programs may use the cluster as well."
    st.caption(f"{order} Select rows to cancel.")
    st.button(
        f"Cancel {len(chosen)} selected" if chosen else "Cancel the selected",
        disabled=not chosen,
        icon=":material/stop:",
        on_click=_cancel,
        args=[chosen],
        help="What waits is cancelled at once, what runs between two modules.",
    )
