"""Why a module's weights went, as a command: cuts, and how far another method would have chosen the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from core.api import measure_now
from core.cli.output import ProgressBar, console
from core.cli.tables import check_out, write_table
from core.errors import InputError
from core.measurements.scores import Scores
from core.methods import Method
from core.module_scores import ModuleScores, aggregated_table, agreement, open_scores, other_method, window_table
from core.scoring.aggregate import Window
from core.store import Run, Store


def print_scores(run_id: str, module: str, against: str | None, window: str | None, out: Path | None) -> None:
    """Computes what is not known yet, prints the figures, and writes the map, or the weights of ``window``, to ``out``."""
    check_out(out)
    store = Store.open()
    run = store.run(run_id)
    row = _module(run, module, store)
    chosen = None if window is None else _window(window, (int(row.rows), int(row.columns)))
    other = other_method(run) if against is None else Method.parse(against)
    other.check(run.config.pattern)
    sides = []
    for method in dict.fromkeys([run.config.method, other]):
        scores = Scores.of_run(run, block=int(row.block), method=method)
        with ProgressBar() as bar:
            measure_now(scores, store, bar)
        sides.append(open_scores(scores, run, module, store))
    _print(run, sides)
    if out:
        table = aggregated_table(sides) if chosen is None else window_table(sides, int(row.block), chosen, store)
        write_table(table, out)


def _module(run: Run, module: str, store: Store) -> pd.Series:
    if run.result is None:
        raise InputError(f"run = {run.id!r} has not finished, so it has no masks; repeat the run.")
    modules = store.modules(run.id)
    found = modules[modules.module == module]
    if found.empty:
        raise InputError(
            f"module = {module!r} is not a module of this run; give its full name, such as {modules.module.iloc[0]}."
        )
    return found.iloc[0]


def _window(text: str, shape: tuple[int, int]) -> Window:
    match = re.fullmatch(r"(\d+),(\d+),(\d+)", text)
    row, column, extent = map(int, match.groups()) if match else (0, 0, 0)
    if not extent or row >= shape[0] or column >= shape[1]:
        raise InputError(
            f"window = {text!r} does not lie in the matrix of {shape[0]} outputs × {shape[1]} inputs; give the first output, "
            "the first input and how many of each, such as 0,0,32."
        )
    return Window(row, column, min(extent, shape[0] - row), min(extent, shape[1] - column))


def _print(run: Run, sides: Sequence[ModuleScores]) -> None:
    first = sides[0]
    assert run.result is not None
    head = [f"{first.module}: {first.shape[0]} outputs × {first.shape[1]} inputs, run {run.id} ({run.name})"]
    head.append(f"Inputs: {run.result.calibrated_on}, after the run's pruned blocks")
    table = Table(
        "method", "compared over", "kept", "cut: lowest", "median", "highest", "scores decide", box=SIMPLE_HEAD
    )
    for side in sides:
        cut = side.facts.cut
        figures = [f"{value:.4g}" for value in (cut.low, cut.median, cut.high)] if cut else ["–"] * 3
        alone = ("yes" if cut.separates else "no") if cut else "–"
        over = side.compared.each if side.compared else "–"
        table.add_row(side.method.described, over, f"{side.keep.mean():.2%}", *figures, alone)
    notes = [f"{side.method.title}: {side.facts.note}" for side in sides if side.facts.note]
    console.print("\n".join(head), markup=False, soft_wrap=True)
    console.print(table)
    if len(sides) > 1:
        found = agreement(sides[0], sides[1])
        apart = float(np.mean(sides[0].keep != sides[1].keep))
        notes.append(
            f"Overlap of the masks (Jaccard): {found.overlap:.4f}, by chance {found.by_chance:.4f}; "
            f"they disagree on {apart:.2%} of the weights"
        )
    console.print("\n".join(notes), markup=False, soft_wrap=True)
