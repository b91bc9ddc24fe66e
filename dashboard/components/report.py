"""Reports as pages offer them: made when somebody asks, so that no page waits for them."""

from __future__ import annotations

import json

from core.store import Run
from core.written import comparison_json, run_json
from dashboard.components import cache


def of_run(run: Run) -> str:
    """HTML."""
    from dashboard.report import run_report

    return run_report(run, cache.store())


def of_two(a: Run, b: Run) -> str:
    """HTML."""
    from dashboard.report import comparison_report

    return comparison_report(a, b, cache.store())


def in_full(run: Run) -> str:
    """A run as JSON."""
    return json.dumps(run_json(run, cache.modules(run).to_dict(orient="records")), indent=2)


def two_in_full(a: Run, b: Run) -> str:
    """A comparison as JSON."""
    return json.dumps(comparison_json(a, b, cache.store()), indent=2)
