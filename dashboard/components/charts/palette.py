"""The theme's colours for charts, in one order for methods everywhere."""

from __future__ import annotations

from typing import Any

from streamlit.elements.lib import streamlit_plotly_theme as theme

CATEGORIES: tuple[str, ...] = (
    theme.CATEGORY_0,
    theme.CATEGORY_1,
    theme.CATEGORY_2,
    theme.CATEGORY_3,
    theme.CATEGORY_4,
    theme.CATEGORY_5,
    theme.CATEGORY_6,
    theme.CATEGORY_7,
)
"""Stand-ins that Streamlit replaces with ``chartCategoricalColors`` of the theme that is on."""
SEQUENTIAL: list[list[Any]] = [[n / 9, getattr(theme, f"SEQUENTIAL_{n}")] for n in range(10)]
"""The scale for what has a zero or an order: likewise ``chartSequentialColors``, low to high."""
DIVERGING: list[list[Any]] = [[n / 9, getattr(theme, f"DIVERGING_{n}")] for n in range(10)]
"""The scale around 0: likewise ``chartDivergingColors``."""
SELECTED = theme.CATEGORY_1
"""The frame around what is selected."""
LOW_END, HIGH_END = theme.SEQUENTIAL_0, theme.SEQUENTIAL_9
"""The ends of the sequential scale: each stands out from the other in both themes."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "x", "star", "cross")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
AXIS_TEXT = {"light": "#3a4650", "dark": "#c3ccd4"}
"""At least 7:1 on the theme's background; Streamlit's own has 3.7."""
