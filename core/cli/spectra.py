"""The spectra of a model as a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.progress import track
from rich.table import Table

from core.cli.options import config_values
from core.cli.output import console, errors
from core.disk import writing
from core.errors import InputError
from core.models.sources import parse_source
from core.spectra.table import spectrum_rows

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


def print_spectra(fit: Any, bound: Any, out: Path | None, given: dict[str, Any]) -> None:
    """Measures every module, prints what matters most, and writes the whole table to ``out``."""
    if out and (out.suffix not in (".csv", ".parquet") or not out.parent.is_dir()):
        raise InputError(f"out = {str(out)!r} is not a file this can write; end it in .csv or .parquet.")
    values = config_values(given)
    source = parse_source(values["model"], **values["model_options"])
    count = len(source.profile().modules)
    rows = spectrum_rows(source.load().model, fit, bound)
    table = pd.DataFrame(track(rows, "Spectra", total=count, console=errors, transient=True))
    shown = Table(title=f"{source.label}, fit {fit}", box=SIMPLE_HEAD)
    for column in _SHOWN:
        shown.add_column(column)
    for _, row in table.iterrows():
        shown.add_row(*(form.format(row[name]) if pd.notna(row.get(name)) else "–" for name, form in _SHOWN.items()))
    console.print(shown)
    if out:
        with writing(out):
            table.to_csv(out, index=False) if out.suffix == ".csv" else table.to_parquet(out)
