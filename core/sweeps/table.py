"""Runs as tables: one row a run, one row for all seeds of the same thing, and the points of a curve."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from core.allocation import Uniform
from core.errors import InputError
from core.figures import loss_words, retained_words
from core.numbers import plain
from core.patterns import Unstructured
from core.store import Run
from core.sweeps.axis import SEED, value_at, words

RECIPE = "recipe"
"""The column that is the same for runs that differ in nothing but the calibration seed."""
_TELLING = ["model", "sparsity", "pattern", "method", "allocation", "stages"]
_MEANS = ["perplexity", "standard error", "achieved", "mean error", "pruning seconds", "seconds"]


def column_of(path: str) -> str:
    """The column of a table that holds the values of a sweep's axis."""
    return "seed" if path == SEED else path.replace(".", " ")


def sweep_table(runs: Sequence[Run], paths: Sequence[str] = ()) -> pd.DataFrame:
    """One row a finished run, in the order given; ``paths`` (a sweep's axes) get columns beside those every table has.

    ``target`` is the sparsity asked for and ``achieved`` what came of it, as fractions; ``standard error`` is that of the
    perplexity over the windows, None for a single one; times are in seconds.
    """
    table = pd.DataFrame([_row(run, paths) for run in runs if run.result is not None])
    return table.astype({"standard error": float, "mean error": float}) if len(table) else table


def _row(run: Run, paths: Sequence[str]) -> dict[str, Any]:
    config, result = run.config, run.result
    assert result is not None
    own = {column_of(path): value_at(config, path) for path in paths if "." in path}
    return {
        "model": config.model.label,
        "sparsity": config.pattern.label if config.pattern.sparsity is not None else f"{100 * config.sparsity:.4g}%",
        "pattern": words(config.pattern),
        "method": config.method.described,
        "allocation": config.allocation.described,
        "stages": words(config.stages),
        **own,
        "seed": config.calibration.seed,
        "target": config.sparsity,
        "perplexity": result.perplexity.value,
        "standard error": result.perplexity.standard_error,
        "dense perplexity": result.dense_perplexity.value,
        "achieved": result.sparsity,
        "mean error": result.figures.get("mean_error"),
        "retained score": retained_words(result.figures),
        "block loss": loss_words(result.figures),
        "pruning seconds": result.prune_seconds,
        "seconds": result.seconds,
        "run": run.id,
        RECIPE: _recipe(run),
    }


def _recipe(run: Run) -> str:
    config = run.config
    same = config.model_copy(update={"calibration": config.calibration.model_copy(update={"seed": 0})})
    return hashlib.sha256((same.canonical() + run.identity.model_dump_json()).encode()).hexdigest()[:16]


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """One row for all runs of ``sweep_table`` that differ in nothing but the seed.

    Measured numbers are means (so is ``standard error``, for all seeds are measured on the same windows);
    ``standard deviation`` is the perplexity's over the ``seeds`` many seeds (divided by n - 1; NaN for one), beside its
    ``minimum`` and ``maximum``; ``runs`` are their ids.
    """
    if table.empty:
        return table
    groups = table.drop_duplicates("run").groupby(RECIPE, sort=False)
    rows = groups.first()
    rows[_MEANS] = groups[_MEANS].mean()
    rows["standard deviation"] = groups["perplexity"].std(ddof=1)
    rows["minimum"], rows["maximum"] = groups["perplexity"].min(), groups["perplexity"].max()
    rows["seeds"] = groups.size()
    rows["runs"] = groups["run"].agg(tuple)
    rows.loc[rows["seeds"] > 1, ["retained score", "block loss"]] = ""  # words about one run
    return rows.reset_index().drop(columns=["seed", "run"])


def curve(table: pd.DataFrame, x: str = "target", line: Sequence[str] = ("method",)) -> pd.DataFrame:
    """The points of ``sweep_table`` as lines: the rows of ``over_seeds``, by ``line`` and then by ``x``.

    Raises InputError where runs that differ in more than the seed would come to the same point.
    """
    points = over_seeds(table)
    if points.empty:
        return points
    points = points.dropna(subset=[x])
    clash = points[points.duplicated([*line, x], keep=False)]
    if len(clash):
        told = [name for name in points.columns[: points.columns.get_loc("target")] if name != RECIPE]
        groups = clash.groupby([*line, x], dropna=False)
        mixed = [name for name in told if name not in (x, *line) and (groups[name].nunique(dropna=False) > 1).any()]
        raise InputError(
            f"The lines by {', '.join(line)} mix runs that differ in {', '.join(mixed) or 'what no column tells'}; "
            "make that a line of its own, or choose fewer runs."
        )
    return points.sort_values([*line, x], kind="stable").reset_index(drop=True)


def plain_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON can hold them."""
    return [
        {name: plain(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in table.to_dict(orient="records")
    ]


_FIGURES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "mean error": ("mean error", "{:.4f}".format),
    "retained score": ("retained score", str),
    "block loss": ("block loss", str),
    "achieved": ("achieved", "{:.4%}".format),
    "pruning seconds": ("seconds", "{:.0f}".format),
}


def markdown(table: pd.DataFrame, paths: Sequence[str], figures: Sequence[str]) -> str:
    """The rows of ``sweep_table``, seeds taken together, as people read them in a document.

    It tells the axes ``paths``, and of the rest what is not the usual; beside the perplexity stand its standard error, or
    for several seeds their standard deviation and number.
    """
    points = over_seeds(table)
    axes = [column_of(path) for path in paths if path != SEED]
    usual = {"pattern": {Unstructured.title, *points["sparsity"]}, "allocation": {Uniform.title}, "stages": {"–"}}
    usual |= {"model": set(points["model"])}
    shown = {}
    for name in dict.fromkeys([*_TELLING, *axes]):
        needed = name in ("sparsity", "method") or (name in axes and name != "pattern")
        if needed or not set(points[name]) <= usual[name]:
            shown[name] = points[name].map(lambda value: "–" if pd.isna(value) else words(value))
    shown["perplexity"] = points.apply(_perplexity_words, axis=1)
    for name in figures:
        title, form = _FIGURES[name]
        shown[title] = points[name].map(form)
    filled = {name: column for name, column in shown.items() if (column != "").any()}
    return markdown_lines(pd.DataFrame(filled))


def markdown_lines(table: pd.DataFrame) -> str:
    """A table of texts as markdown."""
    lines = [table.columns, ["---"] * len(table.columns), *table.to_numpy()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _perplexity_words(point: pd.Series) -> str:
    value = f"{point['perplexity']:.2f}"
    if point["seeds"] > 1:
        return f"{value} ± {point['standard deviation']:.2f} ({point['seeds']} seeds)"
    return value if pd.isna(point["standard error"]) else f"{value} ± {point['standard error']:.2f}"


def measured_on(runs: Sequence[Run]) -> str:
    """What the dense models' perplexities are, and on which texts all was measured, as one sentence."""
    results = [(run.config.model.label, run.result) for run in runs if run.result is not None]
    dense = dict.fromkeys(
        f"{label}: dense perplexity {result.dense_perplexity.value:.2f} ± {result.dense_perplexity.standard_error or 0:.2f}"
        for label, result in results
    )
    evaluated = dict.fromkeys(result.evaluated_on for _, result in results)
    calibrated = dict.fromkeys(result.calibrated_on for _, result in results)
    return f"{', '.join(dense)}; measured on {' or '.join(evaluated)}, calibrated on {' or '.join(calibrated)}."
