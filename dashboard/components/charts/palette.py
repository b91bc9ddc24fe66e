"""The theme's colours for charts, in one order for methods everywhere."""

from __future__ import annotations

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
SEQUENTIAL: tuple[tuple[float, str], ...] = tuple((i / 9, getattr(theme, f"SEQUENTIAL_{i}")) for i in range(10))
DIVERGING: tuple[tuple[float, str], ...] = tuple((i / 9, getattr(theme, f"DIVERGING_{i}")) for i in range(10))
"""Stand-ins for the theme's scales: from low to high, and from below 0 to above."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "x", "star", "cross")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
