"""The HTML of a report: its sections in a template, Plotly and the data within."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from core.store import Run, Store
from core.version import __version__
from dashboard.report.comparison import comparison_sections
from dashboard.report.downloads import comparison_downloads, run_downloads
from dashboard.report.parts import Download, Section
from dashboard.report.run import run_sections
from dashboard.report.theme import palettes, themes


def run_report(run: Run, store: Store) -> str:
    """The report of a finished run. Raises InputError where it has not finished."""
    lead = f"Run {run.id} of {run.config.model.label}"
    return _html(run.name, lead, run_sections(run, store), run_downloads(run, store))


def comparison_report(a: Run, b: Run, store: Store) -> str:
    """The report of two finished runs, held against each other. Raises InputError naming one that has not finished."""
    title = f"{a.name} (A) and {b.name} (B)"
    lead = f"A is run {a.id} of {a.config.model.label}, B is run {b.id} of {b.config.model.label}"
    return _html(title, lead, comparison_sections(a, b, store), comparison_downloads(a, b, store))


def _html(title: str, lead: str, sections: Sequence[Section], downloads: Sequence[Download]) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html").render(
        title=title,
        lead=lead,
        written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        version=__version__,
        sections=sections,
        downloads=downloads,
        themes=themes(),
        palettes=palettes(),
        plotly=get_plotlyjs(),
    )
