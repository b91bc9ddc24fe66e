"""The frame that all pages share: navigation, and the sidebar with the selected run and module."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.navigation.page import StreamlitPage

ABOUT = (
    "**PruneScope** shows what pruning does to a language model, layer by layer. "
    "Every number on a page comes from a run that can be repeated from its config."
)
_STYLE = Path(__file__).with_name("style.css")
FAVICON = str(Path(__file__).with_name("favicon.svg"))
PRUNE, SPECTRA, SCORES, SPARSITY, CURVES, COMPARE, LEARN, RUNS = (
    "dashboard/prune.py",
    "dashboard/spectra.py",
    "dashboard/scores.py",
    "dashboard/sparsity.py",
    "dashboard/curves.py",
    "dashboard/compare.py",
    "dashboard/learn.py",
    "dashboard/runs.py",
)


def navigation() -> StreamlitPage:
    st.html(_STYLE)
    return st.navigation(
        [
            st.Page(PRUNE, title="Prune", icon=":material/content_cut:", default=True),
            st.Page(SPECTRA, title="Spectra", icon=":material/ssid_chart:"),
            st.Page(SCORES, title="Scores", icon=":material/contrast:"),
            st.Page(SPARSITY, title="Sparsity", icon=":material/grid_on:"),
            st.Page(CURVES, title="Curves", icon=":material/show_chart:"),
            st.Page(COMPARE, title="Compare", icon=":material/compare_arrows:"),
            st.Page(LEARN, title="Learn", icon=":material/school:"),
            st.Page(RUNS, title="Runs", icon=":material/history:"),
        ],
        position="top",
    )
