"""How every chart is placed: readable in both themes, described for who cannot see it, no toolbar."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard.components.charts.palette import AXIS_TEXT


def ink() -> str:
    """The colour of text in the theme that is on."""
    return str(st.get_option(f"theme.{st.context.theme.type or 'light'}.textColor"))


def show(figure: go.Figure, key: str, alt: str, **options: Any) -> None:
    """Draws ``figure``; ``alt`` says in words what it shows."""
    color = AXIS_TEXT[st.context.theme.type or "light"]
    # Said of every axis, since Streamlit's theme says it of every axis too, and would win.
    text = {"tickfont": {"color": color}, "title": {"font": {"color": color}}}
    axes = {name: text for name in figure.layout.to_plotly_json() if name.startswith(("xaxis", "yaxis"))}
    figure.update_layout({"font": {"color": color}, **axes})
    if figure.layout.xaxis.automargin is None:
        figure.layout.xaxis.automargin = True
    st.plotly_chart(figure, key=key, alt=alt, config={"displayModeBar": False}, **options)
