"""How every chart is placed: readable in both themes, described for who cannot see it, no toolbar."""

from __future__ import annotations

from functools import partial
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard.components import cache
from dashboard.components.charts.palette import AXIS_TEXT, CATEGORIES


def ink() -> str:
    """The colour of text in the theme that is on."""
    return str(st.get_option(f"theme.{st.context.theme.type or 'light'}.textColor"))


def color(category: str) -> str:
    """The colour that a stand-in of ``palette.CATEGORIES`` is in the theme that is on."""
    colors: list[str] = st.get_option(f"theme.{st.context.theme.type or 'light'}.chartCategoricalColors")
    return colors[CATEGORIES.index(category)]


def show(chart: go.Figure | partial[go.Figure], key: str, alt: str, **options: Any) -> None:
    """Draws a figure, or what a call gives that is made once for the same arguments; ``alt`` says in words what it shows."""
    ink = AXIS_TEXT[st.context.theme.type or "light"]
    figure = cache.drawn(chart, _placed, ink) if isinstance(chart, partial) else _placed(chart, ink)
    st.plotly_chart(figure, key=key, alt=alt, config={"displayModeBar": False}, **options)


def _placed(figure: go.Figure, ink: str) -> go.Figure:
    # Said of every axis, since Streamlit's theme says it of every axis too, and would win.
    for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
        axis.tickfont.color = axis.title.font.color = ink  # update_layout takes twice as long
    figure.layout.font.color = ink
    # Streamlit's front end gives Plotly every new chart twice, which would draw it twice if this did not say: the same data.
    figure.layout.datarevision = "1"
    if figure.layout.xaxis.automargin is None:
        figure.layout.xaxis.automargin = True
    return figure
