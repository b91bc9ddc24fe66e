"""A layer-wise allocation as a command: measured, printed block by block, and written keyed by module."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table

from core.allocation import allocate
from core.allocation.table import as_json
from core.api import measure_now
from core.checks import check
from core.cli.output import ProgressBar, console
from core.cli.tables import check_out, write_table
from core.config import RunConfig
from core.disk import writing
from core.measured import measured_values
from core.measurements.allocation import AllocationBasis
from core.models.profiles import known_profile
from core.store import Store

_SUFFIXES = (".csv", ".json", ".parquet")


def print_allocation(config: RunConfig, out: Path | None) -> None:
    """Prints the sparsity of each block, and writes that of each module to ``out``."""
    check_out(out, _SUFFIXES)
    store = Store.open()
    basis = AllocationBasis.of(config)
    profile = known_profile(config.model, store)
    check(basis.config.model_copy(update={"pattern": config.pattern, "sparsity": config.sparsity}), profile)
    with ProgressBar() as bar:
        measure_now(basis, store, bar)
    measured = measured_values(basis.config, basis.identity, store) or {}
    sparsities = allocate(config.allocation, config.pattern, profile, config.sparsity, measured)
    table = pd.DataFrame(
        {
            "module": module.name,
            "block": module.block,
            "label": module.label,
            "parameters": module.parameters,
            "sparsity": sparsities[module.name],
            config.allocation.measures or "measured": measured.get(module.name),
        }
        for module in profile.modules
    )
    _print(f"{config.allocation.title} at {config.sparsity:.4g}: {config.model.label}", table)
    if out and out.suffix == ".json":
        with writing(out):
            out.write_text(as_json(sparsities), encoding="utf-8")
    else:
        write_table(table, out)


def _print(title: str, table: pd.DataFrame) -> None:
    shown = Table(title=title, box=SIMPLE_HEAD)
    quantity = table.columns[-1]
    columns = ["block", "sparsity", "lowest module", "highest module"]
    columns += [] if table[quantity].isna().all() else [f"{quantity}, mean"]
    for column in columns:
        shown.add_column(column, justify="right")
    for block, modules in table.groupby("block"):
        mean = (modules.sparsity * modules.parameters).sum() / modules.parameters.sum()
        cells = [str(block), f"{mean:.4f}", f"{modules.sparsity.min():.4f}", f"{modules.sparsity.max():.4f}"]
        shown.add_row(*cells, *([f"{modules[quantity].mean():.4g}"] if len(columns) > len(cells) else []))
    console.print(shown)
    whole = (table.sparsity * table.parameters).sum() / table.parameters.sum()
    console.print(f"Mean, weighted by parameters: {whole:.6f}")
