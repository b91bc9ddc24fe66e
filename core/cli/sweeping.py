"""Sweeps as commands: which points they have, running what is missing, and their tables."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from core.cli.axes import parse_axes
from core.cli.options import config_values
from core.cli.output import SweepBar, console, errors
from core.cli.subjects import described_config
from core.cli.tables import check_out
from core.disk import writing
from core.errors import Cancelled, InputError
from core.models.profiles import known_profile
from core.store import Run, Store, SweepRecord
from core.sweeps import Axis, LeftOut, Sweep
from core.sweeps.axis import SEED
from core.sweeps.points import settle
from core.sweeps.running import run_sweep
from core.sweeps.table import RECIPE, markdown, measured_on, plain_records, sweep_table

SUFFIXES = (".md", ".csv", ".json")
_FIGURES = ("achieved", "pruning seconds")
_ON_SEEDS = "Where a number of seeds is given, ± is their standard deviation, else the standard error over windows."


def sweep_command(axes: Sequence[str], name: str | None, out: Path | None, given: dict[str, Any]) -> None:
    """Runs what is missing of the sweep that the options describe, and prints its table."""
    check_out(out, SUFFIXES)
    sweep, store = _sweep(parse_axes(axes), given), Store.open()
    record = submit_here(sweep, store, name)
    complete(record, store, _FIGURES, out)


def resume_command(sweep_id: str, out: Path | None) -> None:
    """Runs what is missing of a sweep that the store knows, and prints its table."""
    check_out(out, SUFFIXES)
    store = Store.open()
    complete(store.sweeps.get(sweep_id), store, _FIGURES, out)


def show_command(sweep_id: str, out: Path | None) -> None:
    """Prints how far a sweep is, and the table of what is finished."""
    check_out(out, SUFFIXES)
    store = Store.open()
    store.reconcile()
    record, progress = store.sweeps.get(sweep_id), store.sweeps.progress(sweep_id)
    counts = ", ".join(f"{count} {state}" for state, count in progress.counts.items())
    console.print(f"{record.id} {record.name}: {len(progress.points)} points, {counts}.", markup=False, soft_wrap=True)
    _tell_left_out(record.left_out)
    print_table(record, store, _FIGURES, out)
    for reason, count in progress.failures.items():
        console.print(f"{count} failed: {reason}", markup=False, soft_wrap=True)


def sweeps_table(store: Store) -> Table:
    """All sweeps with how far they are, the latest first."""
    table = Table(title="Sweeps", box=SIMPLE_HEAD)
    table.add_column("sweep", no_wrap=True, min_width=16)  # the id is what the other commands take, so it is never cut
    for column in ("name", "model", "finished", "under way", "failed"):
        table.add_column(column, overflow="fold")
    for record in store.sweeps.all():
        progress = store.sweeps.progress(record.id)
        active = sum(point.active for point in progress.points)
        figures = (f"{progress.finished} of {len(progress.points)}", active, progress.counts.get("failed", 0))
        table.add_row(record.id, record.name, record.sweep.base.model.label, *map(str, figures))
    return table


def _sweep(axes: tuple[Axis, ...], given: dict[str, Any]) -> Sweep:
    """``axes`` over what the options of a run say; what these say of the pruning becomes an axis of one value, since it
    need not go together with anything but the points."""
    values = config_values(given)
    paths = {axis.path for axis in axes}
    single = {
        name: values.pop(name) for name in ("sparsity", "method", "pattern", "allocation", "stages") if name in values
    }
    twice = [f"{section}.{name}" for section in ("calibration", "evaluation") for name in values.get(section, {})]
    twice += ["model"] if given.get("model") else []
    if clash := sorted(paths.intersection(twice)):
        raise InputError(f"--{clash[0].replace('.', '-')} is given beside --axis {clash[0]}; leave one of them out.")
    return Sweep(base=described_config(values), axes=(*(Axis.of(name, value) for name, value in single.items()), *axes))


def submit_here(sweep: Sweep, store: Store, name: str | None = None) -> SweepRecord:
    """Keeps a sweep in the store, and says what is left out of it."""
    store.reconcile()
    points, left_out = settle(sweep, lambda source: known_profile(source, store))
    _tell_left_out(left_out)
    return store.sweeps.submit(sweep, points, left_out, name)


def _tell_left_out(left_out: Sequence[LeftOut]) -> None:
    for reason in dict.fromkeys(one.reason for one in left_out):
        same = [one for one in left_out if one.reason == reason]
        which = ", ".join(f"{path} {words}" for path, words in same[0].choice.items())
        such = "" if len(same) == 1 else f" and {len(same) - 1} more"
        errors.print(f"Left out ({which}{such}): {reason}", markup=False, soft_wrap=True)


def complete(record: SweepRecord, store: Store, figures: Sequence[str], out: Path | None) -> None:
    """Runs what is missing, and prints the table. Raises InputError, after that, where points failed."""
    from core.models.loading import resolve_device

    store.reconcile()
    progress = store.sweeps.progress(record.id)
    if progress.due:
        for device in {planned.config.model.device for planned in record.sweep.planned}:
            resolve_device(device)
        with SweepBar(len(progress.points) - len(progress.due), len(progress.points)) as bar:

            def begin(run: Run) -> SweepBar:
                return bar.begin(record.sweep.words(run.config))

            try:
                run_sweep(record, store, begin)
            except (Cancelled, KeyboardInterrupt):
                errors.print("Stopped; what is finished stays, and the same command goes on from there.")
                raise
    print_table(record, store, figures, out)
    progress = store.sweeps.progress(record.id)
    if progress.active:
        elsewhere = sum(point.active for point in progress.points)
        errors.print(
            f"{elsewhere} points are under way elsewhere; repeat the command when they are done.", markup=False
        )
    if progress.failures:
        failed = f"{sum(progress.failures.values())} of {len(progress.points)} points failed"
        raise InputError(f"{failed}: {next(iter(progress.failures))}")


def print_table(record: SweepRecord, store: Store, figures: Sequence[str], out: Path | None) -> None:
    """The finished points: printed with several seeds taken together, and written to ``out``, run by run unless for people."""
    runs = [run for run in store.sweeps.runs(record.id) if run.result is not None]
    if not runs:
        return
    table = sweep_table(runs, record.sweep.paths)
    seeds = f" {_ON_SEEDS}" if SEED in record.sweep.paths else ""
    text = f"{measured_on(runs)}{seeds}\n\n{markdown(table, record.sweep.paths, figures)}"
    console.print(text, markup=False, soft_wrap=True)
    if out:
        table = table.drop(columns=RECIPE)
        content = {
            ".md": f"```\npython -m core {shlex.join(sys.argv[1:])}\n```\n\n{text}\n",
            ".csv": table.to_csv(index=False),
            ".json": json.dumps(plain_records(table), indent=2),
        }[out.suffix]
        with writing(out):
            out.write_text(content, encoding="utf-8")
