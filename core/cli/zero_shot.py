"""Zero-shot tasks as a command."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.cli.options import ModelCommand

if TYPE_CHECKING:
    import pandas as pd

    from core.evaluation.zero_shot import TaskChoice
    from core.measurements.zero_shot import ZeroShot
    from core.store import Store


@click.command("zero-shot", cls=ModelCommand)
@click.option("--run", "run_id", metavar="RUN", help="The weights that this run left, in the place of a dense model's.")
@click.option("--tasks", metavar="TASKS", help="Separated by commas, such as boolq,rte. [default: all that there are]")
@click.option("--limit", metavar="N", help="The first N documents of each task; 0: all of them. [default: 100]")
@click.option(
    "--data",
    "folder",
    metavar="FOLDER",
    help="A folder with files <task>.jsonl or <task>.parquet. [default: PRUNESCOPE_TASKS, or else the Hugging Face hub]",
)
@click.option("--batch-size", metavar="INT", help="Answers scored at once. [default: 4]")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table: .csv, .json or .parquet."
)
def zero_shot(
    run_id: str | None,
    tasks: str | None,
    limit: str | None,
    folder: str | None,
    batch_size: str | None,
    out: Path | None,
    **given: Any,
) -> None:
    """Print how many questions of BoolQ, RTE, HellaSwag, ARC, MNLI, WinoGrande and OpenBookQA a model answers.

    What was measured before is not measured again; a run is shown beside its dense model, where that was measured.
    """
    from core.api import measure_now
    from core.cli.output import ProgressBar
    from core.cli.tables import check_out, write_table
    from core.evaluation.accuracy import accuracy_table
    from core.evaluation.zero_shot import TaskChoice
    from core.store import Store

    check_out(out, (".csv", ".json", ".parquet"))
    options = {"tasks": _names(tasks), "limit": limit, "folder": folder, "batch_size": batch_size}
    choice = TaskChoice.model_validate({name: value for name, value in options.items() if value is not None})
    store = Store.open()
    measurement = _measurement(run_id, choice, store, given)
    with ProgressBar() as bar:
        measure_now(measurement, store, bar)
    columns = {"dense": measurement.dense.found(store)}
    if run_id is not None:
        columns["pruned"] = measurement.found(store)
    table = accuracy_table(columns)
    _print(measurement.label, table)
    write_table(table, out)


def _names(tasks: str | None) -> list[str] | None:
    return None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]


def _measurement(run_id: str | None, choice: TaskChoice, store: Store, given: dict[str, Any]) -> ZeroShot:
    from core.cli.subjects import chosen_model, chosen_run
    from core.measurements.zero_shot import ZeroShot

    return ZeroShot.of(chosen_run(run_id, store, given) or chosen_model(given), choice)


def _print(title: str, table: pd.DataFrame) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from core.cli.output import console

    shown = Table(title=title, box=SIMPLE_HEAD)
    shown.add_column("task")
    shown.add_column("weights")
    for column in ("accuracy", "normalised", "documents"):
        shown.add_column(column, justify="right")
    for row in table.itertuples():
        accuracy, normalised = _cell(row.accuracy, row.standard_error), _cell(row.normalised, row.normalised_error)
        shown.add_row(row.task, row.weights, accuracy, normalised, str(row.documents))
    console.print(shown)


def _cell(value: float, error: float) -> str:
    """In percent; NaN is what there is none of."""
    if math.isnan(value):
        return "–"
    return f"{value:.2%}" if math.isnan(error) else f"{value:.2%} ± {error:.2%}"
