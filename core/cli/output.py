"""What the command line shows: a progress bar while it works, a table at the end."""

from __future__ import annotations

import sys
from typing import Any, Self

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from core.allocation import Allocation
from core.data import Corpus
from core.evaluation.result import Perplexity
from core.events import Event, Message, PhaseStarted
from core.events import Progress as Step
from core.figures import loss_words, retained_words, tuning_words
from core.methods import Method
from core.patterns import Pattern
from core.reference import Reference
from core.registry import Component
from core.stages import Stage
from core.statistics import STATISTICS
from core.store import Run, RunResult

# Where the output goes into a file or another program there is no window to fit it into.
console = Console(width=None if sys.stdout.isatty() else 200)
errors = Console(stderr=True)


class ProgressBar:
    """Shows events as one bar a phase, on standard error so that standard output stays clean."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=errors,
        )
        self._task: Any = None
        self._total = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            self._end_phase()
            self._task, self._total = self._progress.add_task(event.phase, total=event.total or None), event.total
        elif isinstance(event, Step):
            self._progress.update(self._task, completed=event.done)
        elif isinstance(event, Message):
            self._progress.console.print(event.text)

    def _end_phase(self) -> None:
        if self._task is not None:
            self._progress.update(self._task, total=self._total or 1, completed=self._total or 1)


class SweepBar(ProgressBar):
    """One bar for the points of a sweep, and below it those of the run under way."""

    def __init__(self, finished: int, points: int) -> None:
        super().__init__()
        self._begun, self._points = finished, points
        self._all = self._progress.add_task("Points", total=points, completed=finished)

    def begin(self, title: str, finished: int | None = None) -> Self:
        """The next point, with ``finished`` before it: its events are this bar's from now on."""
        for task in self._progress.task_ids:
            if task != self._all:
                self._progress.remove_task(task)
        self._task = None
        self._begun = self._begun if finished is None else finished
        self._progress.update(self._all, completed=self._begun)
        self._begun += 1
        self._progress.console.print(f"{self._begun} of {self._points}: {title}", markup=False)
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._progress.update(self._all, completed=self._begun)
        super().__exit__(*error)


def result_table(run: Run) -> Table:
    result = run.result
    assert result is not None
    table = Table(title=f"{run.name}: {run.config.model.label}", title_justify="left", show_header=False)
    for key, value in (
        ("run", run.id),
        ("perplexity, dense", _shown(result.dense_perplexity)),
        ("perplexity, pruned", _shown(result.perplexity)),
        ("measured on", result.evaluated_on),
        *((f"on {text.evaluated_on}", f"{_shown(text.dense)} → {_shown(text.pruned)}") for text in result.also),
        ("calibrated on", result.calibrated_on),
        ("sparsity, target", f"{result.target_sparsity:.4%}"),
        ("sparsity, achieved", f"{result.sparsity:.4%} ({result.pruned:,} of {result.parameters:,} weights)"),
        ("bytes, dense → bitmask", f"{result.dense_bytes / 1e6:,.1f} MB → {result.bitmask_bytes / 1e6:,.1f} MB"),
        *_stage_rows(result),
        ("time", f"{result.seconds:.1f} s, of which pruning {result.prune_seconds:.1f} s"),
    ):
        table.add_row(key, value)
    return table


def _stage_rows(result: RunResult) -> list[tuple[str, str]]:
    """What the stages did, where there were any."""
    rows = [("retained score", retained_words(result.figures)), ("block loss", loss_words(result.figures))]
    rows.append(("held-out block error", tuning_words(result.figures)))
    if "exchanged" in result.figures:
        before, after = (result.figures[f"expected_{when}"] for when in ("before", "after"))
        words = f"{before:.4g} → {after:.4g} ({result.figures['exchanged']:.4%} of the weights exchanged)"
        rows.append(("expected error", words))
    if "swapped" in result.figures:
        rows.append(("weights swapped", f"{result.figures['swapped']:.4%}"))
    if "energy" in result.figures:
        rows.append(
            ("low rank", f"keeps {result.figures['energy']:.2%} of the energy; {result.parameters_after:,} weights")
        )
    if result.packed_bytes is not None:
        rows.append(("bytes, packed", f"{result.packed_bytes / 1e6:,.1f} MB with the mask; kept dequantised"))
    return [(key, words) for key, words in rows if words]


def _shown(perplexity: Perplexity) -> str:
    return with_error(perplexity.value, perplexity.standard_error)


def with_error(value: float, error: float | None) -> str:
    """A perplexity with its standard error, where it has one."""
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"


def registered_tables() -> list[Table]:
    """Everything that is registered, one table a kind."""
    methods = Table(title="Methods")
    for column in ("name", "title", "needs", "compared over", "parameters", "source"):
        methods.add_column(column)
    for cls in Method.registry.classes():
        methods.add_row(
            cls.name, cls.title, ", ".join(cls.needs) or "–", cls.group, _parameters(cls), str(cls.reference)
        )
    stages = Table(title="Stages")
    for column in ("name", "title", "needs", "parameters", "source"):
        stages.add_column(column)
    for stage in sorted(Stage.registry.classes(), key=lambda stage: stage.order):
        stages.add_row(stage.name, stage.title, ", ".join(stage.needs) or "–", _parameters(stage), str(stage.reference))
    others = []
    for base, title in ((Pattern, "Patterns"), (Allocation, "Allocations"), (Corpus, "Corpora")):
        table = Table(title=title)
        for column in ("name", "title", "parameters"):
            table.add_column(column)
        for component in base.registry.classes():
            table.add_row(component.name, component.title, _parameters(component))
        others.append(table)
    statistics = Table("name", title="Statistics of a module's input")
    for name in STATISTICS:
        statistics.add_row(name)
    return [methods, stages, *others, statistics]


def _parameters(cls: type[Component]) -> str:
    return ", ".join(f"{name}={info.default}" for name, info in cls.model_fields.items()) or "–"


def all_bibtex() -> str:
    """The papers of all methods, stages and allocations, each once."""
    classes = (*Method.registry.classes(), *Stage.registry.classes(), *Allocation.registry.classes())
    papers: list[Reference] = [cls.reference for cls in classes if hasattr(cls, "reference")]
    references = {paper.key: paper for paper in papers}
    return "\n\n".join(reference.bibtex for reference in references.values())


def runs_table(runs: list[Run]) -> Table:
    table = Table(title="Runs", box=SIMPLE_HEAD)
    table.add_column("run", no_wrap=True, min_width=16)  # the id is what the other commands take, so it is never cut
    for column in ("name", "model"):
        table.add_column(column, overflow="fold")
    for column in ("status", "sparsity", "dense", "pruned", "seconds"):
        table.add_column(column, no_wrap=True)
    for run in runs:
        result = run.result
        figures = (
            ("–",) * 4
            if result is None
            else (
                f"{result.sparsity:.2%}",
                f"{result.dense_perplexity.value:.2f}",
                f"{result.perplexity.value:.2f}",
                f"{result.seconds:.1f}",
            )
        )
        table.add_row(run.id, run.name, run.config.model.label, run.status, *figures)
    return table
