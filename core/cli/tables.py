"""Tables as files."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from core.disk import writing
from core.errors import InputError

_SUFFIXES = (".csv", ".parquet")


def check_out(out: Path | None, suffixes: tuple[str, ...] = _SUFFIXES) -> None:
    """Raises InputError where a table cannot be written to ``out``."""
    if out and (out.suffix not in suffixes or not out.parent.is_dir()):
        raise InputError(
            f"out = {str(out)!r} is not a file this can write; end it in {', '.join(suffixes)}, in a folder that exists."
        )


def write_table(table: pd.DataFrame, out: Path | None) -> None:
    if out is None:
        return
    with writing(out):
        match out.suffix:
            case ".csv":
                table.to_csv(out, index=False)
            case ".json":
                table.to_json(out, orient="records", indent=2, double_precision=15)
            case _:
                table.to_parquet(out)
