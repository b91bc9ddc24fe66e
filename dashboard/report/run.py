"""What the report of one run holds."""

from __future__ import annotations

import pandas as pd

from core.errors import InputError
from core.evaluation.accuracy import accuracy_table
from core.evaluation.result import Perplexity
from core.figures import by_block, tuning_curves
from core.measurements.zero_shot import last_accuracies
from core.reference import Reference
from core.store import Run, RunResult, Store
from dashboard.components import text
from dashboard.components.charts.allocation import BlockSparsity, allocation_lines
from dashboard.components.charts.grid import ERROR, SPARSITY, Quantity, module_grid
from dashboard.components.charts.sparsity import target_bars
from dashboard.components.charts.tuning import tuning_lines
from dashboard.components.grid import error_note
from dashboard.report.parts import Chart, Fact, Listing, Section, Table, cell, table_of

_MODULES = {
    "module": "Module",
    "rows": "Outputs",
    "columns": "Inputs",
    "target": "Target",
    "sparsity": "Sparsity",
    "pruned": "Pruned",
    "dead_inputs": "Dead inputs",
    "error": "Error",
    "updated": "Updated",
    "seconds": "Seconds",
}
_FORMATS = {"target": ".4%", "sparsity": ".4%", "pruned": ",d", "error": ".5f", "seconds": ".2f"}


def run_sections(run: Run, store: Store) -> list[Section]:
    result = run.result
    if result is None:
        raise InputError(f"run = {run.id!r} has not finished, so there is nothing to report; repeat the run.")
    table = store.modules(run.id)
    return [
        _figures(run, result),
        *_zero_shot(run, store),
        _sparsity(result, table),
        _errors(table),
        Section("Modules", tables=(_modules(table),)),
        *_groups(store.groups(run.id)),
        *sources(run),
        setting(run, result),
        _repeat(run),
    ]


def _figures(run: Run, result: RunResult) -> Section:
    dense, pruned = result.dense_perplexity, result.perplexity
    where = f"on {result.evaluated_on}"
    facts = [
        Fact("Perplexity, dense", with_error(dense), where),
        Fact("Perplexity, pruned", with_error(pruned), where),
        Fact(
            "Sparsity",
            f"{result.sparsity:.4%}",
            f"target {result.target_sparsity:.4%}; {result.pruned:,} of {result.parameters:,} weights pruned",
        ),
        Fact(
            "Size with a bitmask",
            text.size(result.bitmask_bytes),
            f"{result.bitmask_bytes / result.dense_bytes - 1:+.1%} of {text.size(result.dense_bytes)}, prunable modules only",
        ),
        Fact("Time", text.seconds(result.seconds), f"of which pruning {text.seconds(result.prune_seconds)}"),
    ]
    for also in result.also:
        words = f"{with_error(also.dense)} → {with_error(also.pruned)}"
        facts.append(Fact("Perplexity, dense → pruned", words, f"on {also.evaluated_on}"))
    figures = pd.DataFrame(
        {"figure": [name.replace("_", " ") for name in result.figures], "value": result.figures.values()}
    )
    stages = table_of("Of the model as a whole", figures, {"value": ".6g"}, _FIGURE_NAMES)
    words = f"{run.config.title} of {run.config.model.label}, calibrated on {result.calibrated_on}. "
    errors = "± is the standard error over the evaluation windows. Lower perplexity is better."
    warnings = " ".join(result.warnings)
    return Section(
        "Figures",
        f"{words}{errors}{' ' + warnings if warnings else ''}",
        tuple(facts),
        tables=(stages,) if len(figures) else (),
    )


_FIGURE_NAMES = {"figure": "Figure", "value": "Value"}


def with_error(found: Perplexity) -> str:
    value = text.perplexity(found.value)
    return value if found.standard_error is None else f"{value} ± {text.perplexity(found.standard_error)}"


def _zero_shot(run: Run, store: Store) -> list[Section]:
    """What is known of the dense model and of the run; nothing is asked for a report."""
    found = {"dense": last_accuracies(run, store, dense=True), "pruned": last_accuracies(run, store)}
    return accuracy_sections(accuracy_table(found))


def accuracy_sections(table: pd.DataFrame) -> list[Section]:
    if table.empty:
        return []
    names = {name: name.capitalize().replace("_", " ") for name in table.columns}
    formats = {"accuracy": ".4f", "standard_error": ".4f"}
    return [Section("Zero-shot tasks", tables=(table_of("Accuracy by lm-evaluation-harness", table, formats, names),))]


def _sparsity(result: RunResult, table: pd.DataFrame) -> Section:
    blocks = by_block(table)
    charts = [
        Chart(
            "sparsity-by-block",
            target_bars(
                blocks.block.astype(str).tolist(), blocks.sparsity.tolist(), blocks.target.tolist(), "Decoder block"
            ),
            "Bars of the achieved sparsity of each decoder block with its target as a mark.",
            "Weighted by parameters. The mark is what the allocation asked for, the bar what the masks hold.",
        ),
        grid_chart(
            "sparsity-grid",
            table,
            SPARSITY,
            f"Share of each module's weights that the keep mask prunes; target {result.target_sparsity:.4g}.",
        ),
    ]
    if table.target.nunique() > 1:
        charts.append(
            Chart(
                "allocation",
                allocation_lines({"target": _target_by_block(table)}, result.target_sparsity),
                "Target sparsity of each block as a line, with bars from its lowest to its highest module.",
                "What the allocation asked of each block; thin bars reach from the lowest to the highest module.",
            )
        )
    return Section("Where the zeros are", charts=tuple(charts))


def _target_by_block(table: pd.DataFrame) -> list[BlockSparsity]:
    means = by_block(table).set_index("block").target
    return [BlockSparsity(means[block], of.min(), of.max()) for block, of in table.groupby("block").target]


def grid_chart(chart: str, table: pd.DataFrame, quantity: Quantity, note: str) -> Chart:
    blocks, labels = int(table.block.max()) + 1, table.label.unique().tolist()
    known = table.dropna(subset=[quantity.column])[quantity.column]
    reach = f"from {known.min():.4g} to {known.max():.4g}" if len(known) else "not known of any"
    alt = (
        f"{quantity.title} of every module, {reach}; blocks from left to right, {', '.join(labels)} from top to bottom."
    )
    return Chart(chart, module_grid(table, quantity, blocks, labels), alt, note)


def _errors(table: pd.DataFrame) -> Section:
    return Section("Reconstruction error", charts=(grid_chart("error-grid", table, ERROR, error_note(table)),))


def _modules(table: pd.DataFrame) -> Table:
    further = {name: name.replace("_", " ").capitalize() for name in table.columns if name not in {*_MODULES, *_PLACES}}
    formats = _FORMATS | dict.fromkeys(further, ".5g")
    title = f"{len(table)} modules; the CSV has every digit"
    return table_of(title, table, formats, _MODULES | further, tall=True)


_PLACES = ("block", "label", "parameters", "error_basis")


def _groups(groups: pd.DataFrame) -> list[Section]:
    if groups.empty:
        return []
    names = {name: name.replace("_", " ").capitalize() for name in groups.columns}
    formats = {name: ".5g" for name in groups.columns if name not in ("block", "group", "stage")}
    table = table_of("By the stages", groups, formats, names, tall=True)
    return [Section("Refined parts of blocks", tables=(table,), charts=_tuning(tuning_curves(groups)))]


def _tuning(curves: pd.DataFrame) -> tuple[Chart, ...]:
    if curves.empty:
        return ()
    lowest = curves.groupby("block").share.min()
    alt = f"A line a block: the lowest held-out error is between {lowest.min():.1%} and {lowest.max():.1%} of the untuned."
    note = "Error of each tuned block's output on held-out windows, as a share of the untuned block's; a line a block."
    return (Chart("tuning-curves", tuning_lines(curves), alt, note),)


def sources(*runs: Run) -> list[Section]:
    """The papers of methods, stages and allocations, each once."""
    parts = [part for run in runs for part in (run.config.method, *run.config.stages, run.config.allocation)]
    papers: dict[str, Reference] = {part.reference.key: part.reference for part in parts if hasattr(part, "reference")}
    return [Section("Papers", references=tuple(papers.values()))] if papers else []


def setting(run: Run, result: RunResult, title: str = "Setting") -> Section:
    """What the run ran with, and what its words stood for."""
    identity = [(name, cell(value)) for name, value in run.identity.model_dump(mode="json").items()]
    rows = [*result.environment.items(), *identity, ("run", run.id)]
    frame = pd.DataFrame([(name.replace("_", " "), value) for name, value in rows], columns=["name", "value"])
    names = {"name": "What", "value": "Value"}
    return Section(title, tables=(table_of("Versions, device, and what model and texts were", frame, {}, names),))


def _repeat(run: Run) -> Section:
    command = f"python -m core prune --config {run.id}.json"
    return Section(
        "Repeat it",
        "Save the config and give it to the command; the same model, texts and program make the same run.",
        listings=(
            Listing("Command", command),
            Listing("Config", run.config.model_dump_json(indent=2), f"{run.id}.json"),
        ),
    )
