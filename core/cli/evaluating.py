"""The perplexity of a model, or of a run beside its dense model, on any texts, as a command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from core.api import measure_now
from core.cli.options import config_values
from core.cli.output import ProgressBar, console, errors, with_error
from core.cli.subjects import chosen_run, dense_and_pruned
from core.cli.tables import check_out, write_table
from core.config import Evaluation, fingerprints
from core.disk import writing
from core.measurements.perplexity import PerplexityOn
from core.store import Run, Store
from core.sweeps.table import plain_records

_SUFFIXES = (".csv", ".json")


def print_evaluation(run_id: str | None, out: Path | None, given: dict[str, Any]) -> None:
    """Prints the perplexity on each text, and writes it to ``out``; what was measured before is known."""
    check_out(out, _SUFFIXES)
    store = Store.open()
    run = chosen_run(run_id, store, given)
    evaluation = _evaluation(run, config_values(given).get("evaluation", {}))
    same = run is not None and evaluation == run.config.evaluation
    texts = run.identity.evaluation_fingerprints if run and same else fingerprints(evaluation)
    measured = dense_and_pruned(PerplexityOn, run, given, evaluation=evaluation, fingerprints=texts)
    with ProgressBar() as bar:
        for measurement in measured.values():
            measure_now(measurement, store, bar)
    for measurement in measured.values():
        for warning in measurement.overlaps(store):
            errors.print(warning, markup=False, soft_wrap=True)
    table = _table(measured, evaluation, store)
    label = measured["dense"].whose
    _print(f"{run.name}: {label}" if run else label, table)
    if out and out.suffix == ".json":
        with writing(out):
            out.write_text(json.dumps(plain_records(table), indent=2), encoding="utf-8")
    else:
        write_table(table, out)


def _evaluation(run: Run | None, given: dict[str, Any]) -> Evaluation:
    """What is not given is as the run has it, so that its figures can be compared; a corpus replaces all of the run's."""
    known = run.config.evaluation.model_dump() if run else {}
    if "corpus" in given:
        known.pop("also", None)
    return Evaluation.model_validate(known | given)


def _table(measured: dict[str, PerplexityOn], evaluation: Evaluation, store: Store) -> pd.DataFrame:
    """One row a corpus."""
    rows = [{"corpus": part.corpus.label("evaluation")} for part in evaluation.each]
    for kind, measurement in measured.items():
        for row, found in zip(rows, measurement.found(store), strict=True):
            assert found is not None
            row |= {"windows": found.windows, "seqlen": found.seqlen, "tokens": found.tokens}
            row |= {kind: found.value, f"{kind} standard error": found.standard_error}
    return pd.DataFrame(rows)


def _print(title: str, table: pd.DataFrame) -> None:
    kinds = [kind for kind in ("dense", "pruned") if kind in table]
    shown = Table(title=title, box=SIMPLE_HEAD)
    for column in ("corpus", "windows", "seqlen", "tokens predicted", *(f"perplexity, {kind}" for kind in kinds)):
        shown.add_column(column, justify="left" if column == "corpus" else "right")
    for row in table.to_dict(orient="records"):
        figures = (with_error(row[kind], row[f"{kind} standard error"]) for kind in kinds)
        shown.add_row(row["corpus"], str(row["windows"]), str(row["seqlen"]), f"{row['tokens']:,}", *figures)
    console.print(shown)
