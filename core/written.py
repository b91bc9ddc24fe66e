"""Runs and comparisons as JSON, in full."""

from __future__ import annotations

from typing import Any

from core.difference import config_difference, figure_difference, module_difference
from core.numbers import plain
from core.store import Run, Store
from core.sweeps.table import plain_records


def run_json(run: Run, modules: list[dict[str, Any]]) -> dict[str, Any]:
    """What ``--json`` writes: the run in full, with the figures most wanted at the top."""
    result = run.result
    assert result is not None
    return {
        "run_id": run.id,
        "config": run.config.model_dump(mode="json"),
        "identity": run.identity.model_dump(mode="json"),
        "dense_perplexity": plain(result.dense_perplexity.value),
        "perplexity": plain(result.perplexity.value),
        "target_sparsity": result.target_sparsity,
        "sparsity": result.sparsity,
        "seconds": result.seconds,
        "result": result.model_dump(mode="json"),
        "modules": [row | {"error": plain(row["error"])} for row in modules],
    }


def comparison_json(a: Run, b: Run, store: Store) -> dict[str, Any]:
    """What ``compare`` writes of two finished runs, beside their ids. Raises InputError where one has not finished."""
    tables = {
        "config": config_difference(a, b),
        "figures": figure_difference(a, b),
        "modules": module_difference(a, b, store),
    }
    return {"a": a.id, "b": b.id, **{name: plain_records(table) for name, table in tables.items()}}
