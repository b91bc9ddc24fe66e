"""What happens if …? Choose, see what it will cost, start, watch, and read the result."""

import streamlit as st

from core.config import RunConfig
from core.errors import InputError, explain
from dashboard.components import cache, plan, progress, result, state


def render() -> None:
    st.title("What happens if I prune it?")
    selection = state.sidebar()
    if selection.run is None and not cache.store().runs():
        _first_minute()
    left, right = st.columns([2, 3], gap="large")
    with left:
        config = plan.form()
    with right:
        if config is not None:
            plan.before(config, selection.run)
        if selection.run is not None:
            _run(selection)
    cache.start_worker()


def _first_minute() -> None:
    with st.container(border=True):
        st.markdown(
            "**New here?** One button halves SmolLM2, a language model of 135 million parameters that came with this program, "
            "and measures what that does to it. It takes about a minute; nothing is downloaded."
        )
        if st.button("Prune SmolLM2 now", type="primary", icon=":material/content_cut:"):
            try:
                attempt = cache.jobs().submit(RunConfig())
            except InputError as error:
                st.error(explain(error))
            else:
                state.select_run(attempt.run_id)


def _run(selection: state.Selection) -> None:
    run = selection.run
    assert run is not None
    st.subheader(run.name, divider="gray")
    if run.attempt.active:
        progress.live(run.id)
    else:
        result.show(selection)


render()
