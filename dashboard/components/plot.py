"""How every chart is placed: readable in both themes, described for who cannot see it, no toolbar."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard.components.charts.palette import AXIS_TEXT, CATEGORIES


def ink() -> str:
    """The colour of text in the theme that is on."""
    return str(st.get_option(f"theme.{st.context.theme.type or 'light'}.textColor"))


def color(category: str) -> str:
    """The colour that a stand-in of ``palette.CATEGORIES`` is in the theme that is on."""
    colors: list[str] = st.get_option(f"theme.{st.context.theme.type or 'light'}.chartCategoricalColors")
    return colors[CATEGORIES.index(category)]


def show(figure: go.Figure, key: str, alt: str, **options: Any) -> None:
    """Draws ``figure``; ``alt`` says in words what it shows."""
    dark = AXIS_TEXT[st.context.theme.type or "light"]
    # Said of every axis, since Streamlit's theme says it of every axis too, and would win.
    text = {"tickfont": {"color": dark}, "title": {"font": {"color": dark}}}
    axes = {name: text for name in figure.layout.to_plotly_json() if name.startswith(("xaxis", "yaxis"))}
    # datarevision: Streamlit's front end gives Plotly every new chart twice, and Plotly would draw it twice.
    figure.update_layout({"font": {"color": dark}, "datarevision": "1", **axes})
    if figure.layout.xaxis.automargin is None:
        figure.layout.xaxis.automargin = True
    st.plotly_chart(figure, key=key, alt=alt, config={"displayModeBar": False}, **options)
