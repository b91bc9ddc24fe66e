"""Steps to go through: forward, back, from the start, or by themselves; with keys as well as with the mouse."""

from __future__ import annotations

import time
from collections.abc import Callable

import streamlit as st

_SECONDS = 1.5
_EARLY = 0.3  # of a step: timers are not exact, and a step that comes a little early must not wait for the next tick


def show(key: str, last: int, name: str, draw: Callable[[int], None]) -> None:
    """Buttons and a slider over the steps 0 to ``last``, and what ``draw`` makes of the one that is shown.

    The step is in the address under ``key``. Nothing moves by itself until *Play* is pressed, and then until the last step.
    """
    if st.session_state.get(key, 0) > last:
        st.session_state[key] = last
    playing = _clock(key) in st.session_state
    st.fragment(_steps, run_every=_SECONDS if playing else None)(key, last, name, draw, playing)


def _steps(key: str, last: int, name: str, draw: Callable[[int], None], ticking: bool) -> None:
    if _clock(key) in st.session_state:
        _advance(key, last)
    if ticking != (_clock(key) in st.session_state):  # the timer begins and ends with a run of the whole page
        st.rerun(scope="app")
    draw(_controls(key, last, name, ticking) if last else 0)


def _controls(key: str, last: int, name: str, playing: bool) -> int:
    step = int(st.slider(name, 0, last, key=key, bind="query-params", on_change=_stop, args=[key]))
    with st.container(horizontal=True):
        st.button(
            "Reset", icon=":material/restart_alt:", on_click=_go, args=[key, 0], disabled=step == 0, key=f"{key}_reset"
        )
        st.button(
            "Back",
            icon=":material/skip_previous:",
            on_click=_go,
            args=[key, step - 1],
            disabled=step == 0,
            key=f"{key}_back",
        )
        st.button(
            "Step",
            icon=":material/skip_next:",
            on_click=_go,
            args=[key, step + 1],
            disabled=step == last,
            type="primary",
            key=f"{key}_step",
        )
        if playing:
            st.button("Pause", icon=":material/pause:", on_click=_stop, args=[key], key=f"{key}_play")
        else:
            st.button("Play", icon=":material/play_arrow:", on_click=_play, args=[key, last], key=f"{key}_play")
    return step


def _clock(key: str) -> str:
    """Where the session keeps when playing began, and at which step; nothing while it stands still."""
    return f"_{key}_clock"


def _advance(key: str, last: int) -> None:
    began, first = st.session_state[_clock(key)]
    step = first + int((time.monotonic() - began) / _SECONDS + _EARLY)
    st.session_state[key] = min(step, last)
    if step >= last:
        _stop(key)


def _go(key: str, step: int) -> None:
    _stop(key)
    st.session_state[key] = step


def _play(key: str, last: int) -> None:
    step = int(st.session_state.get(key, 0))
    st.session_state[_clock(key)] = (time.monotonic(), 0 if step == last else step)


def _stop(key: str) -> None:
    st.session_state.pop(_clock(key), None)
