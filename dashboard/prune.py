"""What happens if …? Choose, see what it will cost, start, watch, and read the result."""

import streamlit as st

from dashboard.components import cache, first_run, plan, progress, result, state


def render() -> None:
    st.title("What happens if I prune it?")
    selection = state.sidebar()
    if selection.run is None and not cache.store().runs():
        first_run.offer(here=True)
    left, right = st.columns([2, 3], gap="large")
    with left:
        config = plan.form()
    with right:
        if config is not None:
            plan.before(config, selection.run)
        if selection.run is not None:
            _run(selection)
    cache.start_worker()


def _run(selection: state.Selection) -> None:
    run = selection.run
    assert run is not None
    st.subheader(run.name, divider="gray")
    if run.attempt.active:
        progress.live(run.id)
    else:
        result.show(selection)


render()
