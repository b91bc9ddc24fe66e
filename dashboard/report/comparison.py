"""What the report of two runs holds: the stored part of what the Compare page shows."""

from __future__ import annotations

import pandas as pd

from core.difference import config_difference, figure_difference, module_difference
from core.evaluation.accuracy import accuracy_table
from core.figures import by_block
from core.measurements.zero_shot import last_accuracies
from core.store import Run, RunResult, Store
from dashboard.components.charts.allocation import BlockSparsity, allocation_lines
from dashboard.components.charts.grid import Quantity
from dashboard.report.parts import Chart, Fact, Listing, Section, cell, table_of
from dashboard.report.run import accuracy_sections, grid_chart, setting, sources, with_error

_OVERLAP = Quantity("overlap", "Overlap of keep masks", ".1%", low=0.0, high=1.0, tick=".0%")
_MODULES = {
    "module": "Module",
    "sparsity a": "Sparsity A",
    "sparsity b": "Sparsity B",
    "difference": "B − A",
    "error a": "Error A",
    "error b": "Error B",
    "overlap": "Overlap",
    "by chance": "By chance",
}
_FORMATS = dict.fromkeys(("sparsity a", "sparsity b", "overlap", "by chance"), ".4%") | {
    "difference": "+.4%",
    "error a": ".5f",
    "error b": ".5f",
}


def comparison_sections(a: Run, b: Run, store: Store) -> list[Section]:
    figures = figure_difference(a, b)
    assert a.result is not None
    assert b.result is not None
    table = module_difference(a, b, store)
    return [
        _figures(a.result, b.result, figures),
        _configs(a, b),
        *_zero_shot(a, b, store),
        _sparsity(a, b, store),
        _masks(table),
        Section("Modules", tables=(table_of("Of both runs", table, _FORMATS, _MODULES, tall=True),)),
        *sources(a, b),
        setting(a, a.result, "Setting of A"),
        setting(b, b.result, "Setting of B"),
        _repeat(a, b),
    ]


def _figures(a: RunResult, b: RunResult, found: pd.DataFrame) -> Section:
    facts = [
        Fact(
            f"Perplexity, {name}",
            with_error(result.perplexity),
            f"dense {with_error(result.dense_perplexity)}, on {result.evaluated_on}",
        )
        for name, result in (("A", a), ("B", b))
    ]
    names = {"figure": "Figure", "a": "A", "b": "B", "difference": "B − A", "standard error": "± its standard error"}
    formats = {"a": ".6g", "b": ".6g", "difference": "+.4g", "standard error": ".2g"}
    paired = bool(found["standard error"].notna().any())
    note = (
        "The loss is compared window by window over the same windows."
        if paired
        else "The two did not read the same windows of the same model, or only one: their perplexities cannot be compared."
    )
    table = table_of("Figures of both", found, formats, names, note=note)
    return Section("Figures", "± is the standard error over the evaluation windows.", tuple(facts), tables=(table,))


def _configs(a: Run, b: Run) -> Section:
    different = config_difference(a, b)
    if different.empty:
        return Section("Configuration", "The configurations are the same.")
    shown = different.assign(a=different.a.map(cell), b=different.b.map(cell))
    names = {"path": "Setting", "a": "A", "b": "B"}
    return Section("Configuration", tables=(table_of("What is not the same", shown, {}, names),))


def _zero_shot(a: Run, b: Run, store: Store) -> list[Section]:
    known = {"dense": last_accuracies(a, store, dense=True)} | {
        name: last_accuracies(run, store) for name, run in (("A", a), ("B", b))
    }
    return accuracy_sections(accuracy_table(known))


def _sparsity(a: Run, b: Run, store: Store) -> Section:
    lines = {name: _blocks(store.modules(run.id)) for name, run in (("A", a), ("B", b))}
    assert a.result is not None
    chart = Chart(
        "sparsity-lines",
        allocation_lines(lines, a.result.target_sparsity),
        "Sparsity of each decoder block: a line for each of the two runs.",
        "Achieved, weighted by parameters; thin bars reach from the lowest to the highest module. The target is A's.",
    )
    return Section("Where the zeros are", charts=(chart,))


def _blocks(table: pd.DataFrame) -> list[BlockSparsity]:
    means = by_block(table).set_index("block").sparsity
    return [BlockSparsity(means[block], of.min(), of.max()) for block, of in table.groupby("block").sparsity]


def _masks(table: pd.DataFrame) -> Section:
    known = table.dropna(subset=["overlap"])
    if known.empty:
        return Section("Do the same weights survive?", "No module has a mask of the same shape in both runs.")
    share = known.both.sum() / known.either.sum() if known.either.sum() else 1.0
    chance = (known["by chance"] * known.parameters).sum() / known.parameters.sum()
    note = (
        f"Weights kept by both as a share of those kept by either (Jaccard); over the model {share:.1%}, where masks that know "
        f"nothing of each other would have about {chance:.1%}."
    )
    return Section("Do the same weights survive?", charts=(grid_chart("overlap-grid", known, _OVERLAP, note),))


def _repeat(a: Run, b: Run) -> Section:
    configs = [
        Listing(f"Config of {n}", run.config.model_dump_json(indent=2), f"{run.id}.json")
        for n, run in (("A", a), ("B", b))
    ]
    commands = "\n".join(f"python -m core prune --config {run.id}.json" for run in (a, b))
    compare = f"python -m core compare {a.id} {b.id}"
    return Section(
        "Repeat it",
        "Save both configs and give them to the command; then compare the two runs.",
        listings=(Listing("Commands", f"{commands}\n{compare}"), *configs),
    )
