"""The colours of the app's two themes for figures that stand outside of it."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from streamlit.elements.lib import streamlit_plotly_theme as stand_in

from dashboard.components.charts.palette import AXIS_TEXT, CATEGORIES, SEQUENTIAL

_CONFIG = Path(__file__).parents[2] / ".streamlit" / "config.toml"
_TEXT, _LINES, _GROUND = stand_in.GRAY_70, stand_in.GRAY_90, stand_in.BG_COLOR
_LINE_COLORS = {"light": "#d5dce2", "dark": "#2a343d"}
_SCALES = {
    "chartCategoricalColors": ("CATEGORY", 8),
    "chartSequentialColors": ("SEQUENTIAL", 10),
    "chartDivergingColors": ("DIVERGING", 10),
}


@cache
def themes() -> dict[str, dict[str, Any]]:
    """``light`` and ``dark`` of .streamlit/config.toml."""
    found: dict[str, dict[str, Any]] = tomllib.loads(_CONFIG.read_text(encoding="utf-8"))["theme"]
    return {name: found[name] for name in ("light", "dark")}


def palettes() -> dict[str, dict[str, str]]:
    """By theme: the colour that takes the place of each stand-in (``charts/palette.py``)."""
    return {name: _palette(name, theme) for name, theme in themes().items()}


def _palette(name: str, theme: dict[str, Any]) -> dict[str, str]:
    palette = {_TEXT: AXIS_TEXT[name], _LINES: _LINE_COLORS[name], _GROUND: theme["backgroundColor"]}
    for key, (kind, count) in _SCALES.items():
        palette |= {getattr(stand_in, f"{kind}_{place}"): theme[key][place] for place in range(count)}
    return palette


def template() -> dict[str, Any]:
    """What Streamlit's theme says of every figure, as far as the figures here need it."""
    axis = {
        "gridcolor": _LINES,
        "linecolor": _LINES,
        "zerolinecolor": _LINES,
        "automargin": True,
        "title": {"standoff": 8},
    }
    return {
        "data": {"heatmap": [{"type": "heatmap", "colorscale": SEQUENTIAL}]},
        "layout": {
            "font": {"color": _TEXT, "family": "system-ui, sans-serif", "size": 13},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(CATEGORIES),
            "hoverlabel": {"bgcolor": _GROUND, "font": {"color": _TEXT}},
            "xaxis": axis,
            "yaxis": axis,
        },
    }
