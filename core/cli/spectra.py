"""The spectra of a model, or of what a run made of it, as a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from core.api import measure_now
from core.cli.options import config_values
from core.cli.output import ProgressBar, console
from core.cli.tables import check_out, write_table
from core.errors import InputError
from core.measurements.spectra import Spectra
from core.models.sources import parse_source
from core.spectra.hill import Bound, Choice, Tail, fit_name
from core.spectra.likelihood import compare_tail
from core.store import Store

_SHOWN = {
    "module": "{}",
    "alpha": "{:.3f}",
    "alpha_error": "± {:.3f}",
    "D": "{:.3f}",
    "tail_size": "{:.0f}",
    "spectral_norm": "{:.4g}",
    "stable_rank": "{:.4g}",
    "mp_softrank": "{:.3f}",
    "note": "{}",
}


def print_spectra(
    fit: Choice,
    bound: Bound,
    run_id: str | None,
    randomised: bool,
    compare: bool,
    out: Path | None,
    given: dict[str, Any],
) -> None:
    """Prints what matters most of every module, and writes the whole table to ``out``; measured once, then known."""
    check_out(out)
    store = Store.open()
    spectra = _wanted(run_id, store, given).model_copy(update={"randomised": randomised})
    with ProgressBar() as bar:
        measure_now(spectra, store, bar)
    name = fit_name(fit, bound)
    table = spectra.table(store, name)
    if compare:
        table = table.join(_comparisons(table, spectra, store))
    _print(f"{spectra.label}, fit {name}", table, compare)
    write_table(table, out)


def _wanted(run_id: str | None, store: Store, given: dict[str, Any]) -> Spectra:
    values = config_values(given)
    if run_id is not None:
        if given.get("model"):
            raise InputError("--run says which model it is; leave --model out.")
        run = store.run(run_id)
        if run.result is None:
            raise InputError(f"run = {run_id!r} has not finished, so there is no pruned model; repeat the run.")
        return Spectra.of_run(run)
    source = parse_source(values["model"], **values["model_options"])
    return Spectra(model=source, revision=source.revision_key())


def _comparisons(table: pd.DataFrame, spectra: Spectra, store: Store) -> pd.DataFrame:
    """For each module: the likelihood ratio of the power law against each alternative, and its p value."""
    eigenvalues = spectra.read(store)
    rows: list[dict[str, float | None]] = []
    for module in table.itertuples():
        row: dict[str, float | None] = {}
        if pd.notna(module.alpha):
            tail = Tail(module.alpha, module.D, module.xmin, int(module.tail_size))
            for found in compare_tail(torch.from_numpy(eigenvalues[module.module]), tail):
                law = found.alternative.replace(" ", "_")
                row |= {f"R_{law}": found.ratio, f"p_{law}": found.p}
        rows.append(row)
    return pd.DataFrame(rows, dtype=float)


def _print(title: str, table: pd.DataFrame, compare: bool) -> None:
    forms = _SHOWN | {c: "{:.2f}" for c in table.columns if compare and c.startswith(("R_", "p_"))}
    shown = Table(title=title, box=SIMPLE_HEAD)
    for column in forms:
        shown.add_column(column)
    for _, row in table.iterrows():
        shown.add_row(*(form.format(row[name]) if pd.notna(row.get(name)) else "–" for name, form in forms.items()))
    console.print(shown)
