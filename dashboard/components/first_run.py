"""The first minute: what leads from an empty store to a finished run, wherever one looks first."""

from __future__ import annotations

import streamlit as st

from core.config import RunConfig
from core.errors import InputError, explain
from dashboard.components import cache, shell, state


def empty(why: str) -> None:
    """In the place of what a page would show: ``why`` it does not, and the way to a run that it can show."""
    st.info(why, icon=":material/info:")
    if cache.store().runs():
        st.page_link(shell.PRUNE, label="Prune a model", icon=":material/content_cut:")
    else:
        offer()


def offer(here: bool = False) -> None:
    """The example run as one button; it is watched on the Prune page, which is open already where ``here``."""
    with st.container(border=True):
        st.markdown(
            "**New here?** One button halves SmolLM2, a language model of 135 million parameters that came with this program, "
            "and measures what that does to it. It takes about a minute; nothing is downloaded."
        )
        if st.button("Prune SmolLM2 now", type="primary", icon=":material/content_cut:"):
            try:
                attempt = cache.jobs().submit(RunConfig())
            except InputError as error:
                st.error(explain(error), icon=":material/error:")
            else:
                if here:
                    state.select_run(attempt.run_id)
                state.open_run(attempt.run_id, shell.PRUNE)
