"""Comparisons as a command: of all methods (a sweep over methods, allocations and sets of stages), or of two runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from core.allocation import Allocation
from core.cli.axes import component, stage_set
from core.cli.options import config_values
from core.cli.output import console
from core.cli.subjects import described_config
from core.cli.sweeping import SUFFIXES, complete, submit_here
from core.cli.tables import check_out
from core.difference import config_difference, figure_difference, module_difference
from core.disk import writing
from core.errors import InputError
from core.methods import Method
from core.store import Store
from core.sweeps import Axis, Sweep
from core.sweeps.axis import words
from core.sweeps.table import markdown_lines, plain_records

_STAGES = ("reallocation", "lsa", "dsnot", "reconstruction", "admm", "barber", "tuning", "low_rank")
_FIGURES = ("mean error", "retained score", "block loss", "pruning seconds")


def run_comparison(
    sparsities: Sequence[str],
    methods: Sequence[str],
    stage_sets: Sequence[str],
    allocations: Sequence[str],
    out: Path | None,
    given: dict[str, Any],
) -> None:
    """Runs what is not in the store yet, prints the table, and writes it to ``out``."""
    check_out(out, SUFFIXES)
    sets = stage_sets or (() if allocations else _STAGES)
    axes = [Axis.of("sparsity", *sparsities or ("0.5",)), Axis.of("method", *methods or sorted(Method.registry))]
    if allocations:
        axes.append(Axis.of("allocation", *(component(Allocation, text) for text in allocations)))
    axes.append(Axis.of("stages", [], *map(stage_set, sets)))
    sweep, store = Sweep(base=described_config(config_values(given)), axes=tuple(axes)), Store.open()
    complete(submit_here(sweep, store), store, _FIGURES, out)


def compare_runs(run_ids: Sequence[str], out: Path | None, beside: Sequence[str]) -> None:
    """Prints what differs between two runs, and writes it to ``out``; ``beside`` are options that make no sense with runs."""
    check_out(out, SUFFIXES)
    if len(run_ids) != 2:
        raise InputError(f"{len(run_ids)} runs are given; give two to compare, or none to compare methods.")
    if beside:
        option = f"--{beside[0].replace('_', '-')}"
        raise InputError(f"{option} is given beside two runs, which say all about themselves; leave it out.")
    store = Store.open()
    a, b = (store.run(run_id) for run_id in run_ids)
    tables = {
        "config": config_difference(a, b),
        "figures": figure_difference(a, b),
        "modules": module_difference(a, b, store),
    }
    head = [f"a: {a.id} {a.name}, {a.config.model.label}", f"b: {b.id} {b.name}, {b.config.model.label}"]
    either = tables["modules"]["either"].sum()
    if either:
        head.append(f"Overlap of all keep masks: {tables['modules']['both'].sum() / either:.4f}")
    console.print("\n".join(head), markup=False, soft_wrap=True)
    for title, table in tables.items():
        shown = Table(*table.columns, title=title.capitalize(), box=SIMPLE_HEAD)
        for row in _texts(table).itertuples(index=False):
            shown.add_row(*map(Text, row))
        console.print(shown)
    if out:
        with writing(out):
            out.write_text(_content(out.suffix, head, tables), encoding="utf-8")


def _content(suffix: str, head: Sequence[str], tables: Mapping[str, pd.DataFrame]) -> str:
    if suffix == ".csv":
        return str(tables["modules"].to_csv(index=False))
    if suffix == ".json":
        return json.dumps({name: plain_records(table) for name, table in tables.items()}, indent=2)
    sections = (f"## {name.capitalize()}\n\n{markdown_lines(_texts(table))}" for name, table in tables.items())
    return "\n\n".join([*head, *sections]) + "\n"


def _texts(table: pd.DataFrame) -> pd.DataFrame:
    return table.map(lambda value: "–" if value is None or value != value else words(value))
