"""A run while it goes on, read from the store every second."""

from __future__ import annotations

import time

import pandas as pd
import streamlit as st

from core.estimate import stored_speed
from core.events import BlockFinished, Event, GroupRefined, Message, ModuleEvent, ModuleRefined, PhaseStarted
from core.figures import module_table
from core.models.profiles import stored_profile
from core.store import Attempt, Run
from dashboard.components import cache, plan, plot, text
from dashboard.components.charts.grid import ERROR, module_grid

_REFRESH_SECONDS = 1.0
_LOG_LINES = 12


@st.fragment(run_every=_REFRESH_SECONDS)
def live(run_id: str) -> None:
    """Phase, progress, time and the grid of modules as it fills; reruns the page when the run has ended."""
    store = cache.store()
    store.reconcile()  # its process may have died
    run = store.run(run_id)
    attempt = run.attempt
    if not attempt.active:
        st.rerun(scope="app")
    if attempt.status == "queued":
        _queued(attempt)
        return
    events = store.events(attempt.id)
    _phase(run, attempt)
    st.button(
        "Cancelling …" if attempt.cancel_requested else "Cancel",
        on_click=store.request_cancel,
        args=[attempt.id],
        disabled=attempt.cancel_requested,
        icon=":material/stop:",
    )
    _grid(run, {event.module: event for _, event in events if isinstance(event, ModuleEvent)})
    with st.expander("Log"):
        st.code("\n".join(_log(events)) or "Nothing yet.", language=None)


def _queued(attempt: Attempt) -> None:
    ahead = [other for other in cache.store().active() if other.id < attempt.id]
    names = ", ".join(cache.store().work(other).name for other in ahead)
    st.info(f"Waiting for {names} to end." if ahead else "Waiting for a worker.", icon=":material/hourglass:")
    st.button("Cancel", on_click=cache.store().request_cancel, args=[attempt.id], icon=":material/stop:")


def _phase(run: Run, attempt: Attempt) -> None:
    phase = attempt.phase or "Starting"
    elapsed = time.time() - (attempt.started_at or attempt.submitted_at)
    known = f"{attempt.phase_done} of {attempt.phase_total}" if attempt.phase_total else "…"
    st.progress(attempt.phase_done / attempt.phase_total if attempt.phase_total else 0.0, f"{phase}: {known}")
    remaining = _remaining(run, attempt, elapsed)
    parts = [
        f"{text.seconds(elapsed)} elapsed",
        f"about {text.seconds(remaining)} left" if remaining else "",
        attempt.message,
    ]
    st.caption(" · ".join(filter(None, parts)))


def _remaining(run: Run, attempt: Attempt, elapsed: float) -> float | None:
    """The plan's prediction for what is still to do; None while this machine's speed is not known."""
    profile, speed = stored_profile(run.config.model, cache.store()), stored_speed(cache.store())
    if profile is None or speed is None:
        return None
    cost = plan.predicted(run.config, profile, cache.store().runs(), speed)
    ahead = {
        "Measuring the dense model": (cost.dense_seconds, cost.seconds - cost.dense_seconds),
        "Measuring the layers": (cost.measure_seconds, cost.prune_seconds + cost.pruned_seconds),
        "Pruning": (cost.prune_seconds, cost.pruned_seconds),
        "Measuring the pruned model": (cost.pruned_seconds, 0.0),
        "Saving": (0.0, 0.0),
    }
    if attempt.phase not in ahead:
        return max(cost.seconds - elapsed, 0.0)
    now, later = ahead[attempt.phase]
    left = 1 - attempt.phase_done / attempt.phase_total if attempt.phase_total else 0.0
    return now * left + later


def _grid(run: Run, done: dict[str, ModuleEvent]) -> None:
    profile = stored_profile(run.config.model, cache.store())
    if profile is None:
        return
    table = module_table(list(done.values())) if done else pd.DataFrame(columns=["block", "label", "error", "module"])
    plot.show(
        module_grid(table, ERROR, profile.blocks, profile.labels),
        "live_grid",
        alt=f"Reconstruction error of the {len(done)} modules pruned so far.",
    )
    st.caption(f"Reconstruction error of each module as it is pruned: {len(done)} of {len(profile.modules)}.")


def _log(events: list[tuple[float, Event]]) -> list[str]:
    lines = []
    for moment, event in events:
        match event:
            case PhaseStarted():
                words = event.phase
            case Message():
                words = event.text
            case ModuleRefined():
                words = f"{event.module}: {event.stage}, {event.sparsity:.2%} pruned, error {event.error:.3g}"
            case GroupRefined():
                figures = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in event.report.items())
                words = f"block {event.block} {event.group}: {event.stage}, {figures}"
            case ModuleEvent():
                words = f"{event.module}: {event.sparsity:.2%} pruned, error {event.error:.3g}, {event.seconds:.2f} s"
            case BlockFinished():
                words = f"block {event.block} done in {event.seconds:.2f} s"
            case _:
                continue
        lines.append(f"{time.strftime('%H:%M:%S', time.localtime(moment))}  {words}")
    return lines[-_LOG_LINES:]
