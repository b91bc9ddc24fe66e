"""Runs shown and written: to the screen, as a file, as a folder, and into another store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import click

from core.cli.output import console, result_table
from core.cli.tables import check_out, write_table
from core.disk import writing
from core.errors import InputError
from core.store import Store
from core.transfer import SUFFIX, Imported, export_runs, import_runs
from core.written import run_json


def show(run_id: str, out: Path | None) -> None:
    """Prints a run's figures; writes the run in full, or its table of modules, to ``out``."""
    check_out(out, (".json", ".csv"))
    store = Store.open()
    store.reconcile()
    run = store.run(run_id)
    if run.result:
        console.print(result_table(run))
    if run.status != "finished":
        console.print(f"{run.id} {run.name}: {run.status}. {run.attempt.message}")
    if out is None:
        return
    if run.result is None:
        raise InputError(f"run = {run_id!r} has not finished, so there is nothing to write; repeat the run.")
    if out.suffix == ".json":
        content = run_json(run, store.modules(run_id).to_dict(orient="records"))
        with writing(out):
            out.write_text(json.dumps(content, indent=2), encoding="utf-8")
    else:
        write_table(store.modules(run_id), out)


def export(run_ids: Sequence[str], target: Path, overwrite: bool, weights: bool) -> None:
    """Writes runs into one file, or the model of one run as a folder."""
    if target.suffix == SUFFIX:
        _write_file(run_ids, target, overwrite, weights)
        click.echo(f"Saved {len(set(run_ids))} run{'s' if len(set(run_ids)) > 1 else ''} to {target}.")
        return
    if len(run_ids) > 1:
        raise InputError(f"{target} is no .zip, and a folder holds the model of one run; name one run, or a .zip.")
    if not weights:
        raise InputError("--no-weights is for a .zip; a folder holds the whole pruned model, so leave it out.")
    from core.api import export_run

    click.echo(f"Saved to {export_run(run_ids[0], target, Store.open(), overwrite)}.")


def _write_file(run_ids: Sequence[str], target: Path, overwrite: bool, weights: bool) -> None:
    """Whole or not at all."""
    if target.exists() and not overwrite:
        raise InputError(f"out = {str(target)!r} exists already; choose another name or add --overwrite.")
    if not target.parent.is_dir():
        raise InputError(f"out = {str(target)!r} lies in a folder that does not exist; create {target.parent}.")
    unfinished = target.with_name(f".{target.name}-{uuid4().hex}")
    try:
        with writing(target), unfinished.open("wb") as file:
            export_runs(Store.open(), run_ids, file, weights)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def import_file(path: Path) -> None:
    with path.open("rb") as file:
        found = import_runs(Store.open(), file, str(path))
    for line in told(found):
        click.echo(line)


def told(found: Imported) -> list[str]:
    """What became of the runs of a file, a line each."""
    new = [f"Imported {run_id}." for run_id in found.new]
    return new + [
        f"{run_id} has finished here already and stays as it is; delete it first to import it." for run_id in found.kept
    ]
