"""What a report is made of: sections with figures, charts, tables and texts to copy."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io

from core.reference import Reference
from dashboard.report.theme import template


@dataclass(frozen=True)
class Fact:
    """A figure that stands out: its name, the figure, and what it was measured on."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """``alt`` says in words what it shows, ``note`` stands below it."""

    id: str
    figure: go.Figure
    alt: str
    note: str = ""

    @property
    def json(self) -> str:
        """Data and layout, safe within a script element."""
        shown = self.figure.to_plotly_json()
        shown["layout"]["template"] = template()  # in the place of the one that Plotly or Streamlit would add to
        return inert(plotly.io.to_json(shown, validate=False, engine="json"))


@dataclass(frozen=True)
class Table:
    """Rows of words; ``numeric`` names the columns that are aligned to the right; ``tall``: it scrolls in a box."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str] = frozenset()
    note: str = ""
    tall: bool = False


@dataclass(frozen=True)
class Listing:
    """A text to copy, and to save where it has a ``file`` name."""

    title: str
    text: str
    file: str = ""


@dataclass(frozen=True)
class Section:
    title: str
    text: str = ""
    facts: tuple[Fact, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    listings: tuple[Listing, ...] = ()
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True)
class Download:
    """Data to save from the report, in full precision."""

    label: str
    file: str
    type: str
    content: str

    @property
    def json(self) -> str:
        return inert(json.dumps(self.content))


def inert(text: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def table_of(
    title: str, frame: pd.DataFrame, formats: Mapping[str, str], names: Mapping[str, str], **more: Any
) -> Table:
    """The columns that ``names`` names, in its order; numbers written by ``formats``."""
    columns = [column for column in names if column in frame]
    rows = tuple(
        tuple(cell(value, formats.get(column, "")) for column, value in zip(columns, row, strict=True))
        for row in frame[columns].itertuples(index=False)
    )
    numeric = frozenset(names[column] for column in columns if pd.api.types.is_numeric_dtype(frame[column]))
    return Table(title, tuple(names[column] for column in columns), rows, numeric, **more)


def cell(value: Any, form: str = "") -> str:
    """A value in a table; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if isinstance(value, float | int):
        return format(value, form) if form else str(value)
    return json.dumps(value, default=str, ensure_ascii=False)
