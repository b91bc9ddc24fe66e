"""A page's own choices: kept while other pages are open, and in the address by id rather than by what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st


def segments(label: str, key: str, titles: Mapping[str, str], default: str, help: str | None = None) -> str:
    """A row of buttons of which one is pressed; ``titles`` by id, of which ``default`` is one. Returns the id."""
    return _choice(st.segmented_control, label, key, titles, default, help=help, required=True, wrap=True)


def select(label: str, key: str, titles: Mapping[str, str], default: str, help: str | None = None) -> str:
    """A select box; ``titles`` by id, of which ``default`` is one. Returns the id."""
    return _choice(st.selectbox, label, key, titles, default, help=help)


def choose(key: str, value: str) -> None:
    """Makes the choice in the user's place; to be called from a callback."""
    st.session_state.setdefault("_options", {})[key] = value


def _choice(widget: Any, label: str, key: str, titles: Mapping[str, str], default: str, **options: Any) -> str:
    # Streamlit can bind a widget to the address itself, but writes there what is shown, which may change with the run.
    kept: dict[str, str] = st.session_state.setdefault("_options", {})
    if key not in kept:
        wanted = st.query_params.get(key, default)
        if wanted not in titles:
            st.warning(
                f"{label} = {wanted!r} in the link is not there to choose; shown is {titles[default]!r}.",
                icon=":material/link_off:",
            )
            wanted = default
        kept[key] = wanted
    # What was chosen for another run may not be there for this one; it is again when that run is.
    st.session_state[key] = kept[key] if kept[key] in titles else default
    chosen: str = widget(
        label,
        list(titles),
        format_func=titles.__getitem__,
        key=key,
        on_change=lambda: kept.update({key: st.session_state[key]}),
        **options,
    )
    if st.query_params.get(key) != chosen:
        st.query_params[key] = chosen
    return chosen
