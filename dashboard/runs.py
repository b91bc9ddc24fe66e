"""All runs: what they were, how they ended, what to do with them; and what else the store keeps, and who works."""

import streamlit as st

from dashboard.components import cache, cluster_state, first_run, kept, run_actions, run_import, run_table, state

_RUNS, _SWEEPS, _MEASUREMENTS, _WORKERS = "Runs", "Sweeps", "Measurements", "Workers"


def render() -> None:
    st.title("Runs")
    selection = state.sidebar()
    cache.start_worker()
    cache.store().reconcile()
    view = st.segmented_control(
        "Show",
        [_RUNS, _SWEEPS, _MEASUREMENTS, _WORKERS],
        default=_RUNS,
        required=True,
        key="view",
        bind="query-params",
        label_visibility="collapsed",
    )
    if view == _SWEEPS:
        kept.sweeps()
    elif view == _MEASUREMENTS:
        kept.measurements(cache.store().runs())
    elif view == _WORKERS:
        cluster_state.live()
    else:
        _runs(selection)


def _runs(selection: state.Selection) -> None:
    runs = cache.store().runs()
    if not runs:
        first_run.empty("Nothing was pruned yet. Every run will be listed here.")
        run_import.offer()
        return
    chosen = run_table.choose(runs)
    if len(chosen) > 1:
        run_actions.several(chosen)
    elif chosen:
        run_actions.one(chosen[0])
    elif selection.run is not None:
        run_actions.one(selection.run)
        st.caption("This is the run of the sidebar. Select one row or several above to work with others.")
    st.divider()
    run_import.offer()
    st.caption(f"{cluster_state.summary()}. The same on the command line: `python -m core runs list`.")


render()
