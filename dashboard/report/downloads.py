"""The data of a report in full precision."""

from __future__ import annotations

import json

from core.difference import module_difference
from core.store import Run, Store
from core.written import comparison_json, run_json
from dashboard.report.parts import Download


def run_downloads(run: Run, store: Store) -> list[Download]:
    modules = store.modules(run.id)
    content = json.dumps(run_json(run, modules.to_dict(orient="records")), indent=2)
    return [
        Download("Everything (JSON)", f"{run.id}.json", "application/json", content),
        Download("Modules (CSV)", f"{run.id}-modules.csv", "text/csv", modules.to_csv(index=False)),
    ]


def comparison_downloads(a: Run, b: Run, store: Store) -> list[Download]:
    content = json.dumps(comparison_json(a, b, store), indent=2)
    table = module_difference(a, b, store).to_csv(index=False)
    return [
        Download("Everything (JSON)", f"{a.id}-{b.id}.json", "application/json", content),
        Download("Modules of both (CSV)", f"{a.id}-{b.id}.csv", "text/csv", table),
    ]
