"""Searches as commands: making trials, and what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from core.allocation import allocate
from core.allocation.table import as_csv, as_json
from core.cli.options import config_values
from core.cli.output import SweepBar, console, errors, with_error
from core.cli.subjects import described_config
from core.cli.tables import check_out
from core.disk import writing
from core.errors import Cancelled
from core.models.profiles import known_profile
from core.profile import ModelProfile
from core.search import Search
from core.search.records import SearchRecord, Trial
from core.search.running import TrialBegun, TrialEnded, run_search
from core.search.studies import open_studies
from core.store import Store

_SUFFIXES = (".csv", ".json")
_SHIFTED = 1e-6


def search_command(trials: int, how: dict[str, Any], out: Path | None, given: dict[str, Any]) -> None:
    """Makes the trials that are missing of the search that the options describe, and prints what was found."""
    check_out(out, _SUFFIXES)
    search, store = Search(base=described_config(config_values(given)), **how), Store.open()
    with SweepBar(0, trials) as bar:
        steps = run_search(search, store, trials, bar)
        try:
            while True:
                try:
                    _tell(next(steps), bar)
                except StopIteration as stop:
                    record: SearchRecord = stop.value
                    break
        except (Cancelled, KeyboardInterrupt):
            errors.print("Stopped; what is finished stays, and the same command goes on from there.")
            raise
        finally:
            steps.close()
    _print_best(record, store, out)


def _tell(step: TrialBegun | TrialEnded, bar: SweepBar) -> None:
    record, trial = step.record, step.trial
    if isinstance(step, TrialBegun):
        bar.begin(_words(record, trial), record.ended)
        return
    best = record.best
    beside = (
        "the best so far" if best and best.number == trial.number else f"best {best.perplexity:.3f}" if best else ""
    )
    figure = "failed" if trial.perplexity is None else f"perplexity {trial.perplexity:.3f}"
    known = ", known" if step.known else ""
    console.print(f"{trial.number + 1:>4}  {figure} ({beside}{known})  {_words(record, trial)}", soft_wrap=True)


def _words(record: SearchRecord, trial: Trial) -> str:
    """What a trial changes, and from which it was made."""
    if trial.start:
        return trial.start
    parent = record.parent(trial.number)
    if parent is None:
        return "?"
    changes = {block: value - parent.sparsities[block] for block, value in trial.sparsities.items()}
    shifts = [f"block {block} {change:+.4f}" for block, change in changes.items() if abs(change) > _SHIFTED]
    return f"{parent.number + 1} with {', '.join(shifts)}"


def list_command() -> None:
    """Prints all searches, the latest first."""
    table = Table(title="Searches", box=SIMPLE_HEAD)
    table.add_column("search", no_wrap=True, min_width=16)
    for column in ("what", "model", "trials", "best perplexity", "uniform"):
        table.add_column(column, overflow="fold")
    with open_studies(Store.open().home) as studies:
        for record in studies.all():
            first = record.trials[0].perplexity if record.trials else None
            figures = (record.best.perplexity if record.best else None, first)
            shown = ("–" if figure is None else f"{figure:.3f}" for figure in figures)
            search = record.search
            table.add_row(record.id, search.title, search.base.model.label, str(record.ended), *shown)
    console.print(table)


def show_command(search_id: str, out: Path | None) -> None:
    """Prints the trials of a search and the best allocation."""
    check_out(out, _SUFFIXES)
    store = Store.open()
    with open_studies(store.home) as studies:
        record = studies.get(search_id)
    table = Table(title=record.search.title, box=SIMPLE_HEAD)
    for column, justify in (("trial", "right"), ("perplexity", "right"), ("run", "left"), ("what", "left")):
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    for trial in record.trials:
        figure = trial.state if trial.perplexity is None else f"{trial.perplexity:.3f}"
        what = _words(record, trial) if trial.sparsities else trial.start or ""
        table.add_row(str(trial.number + 1), figure, trial.run_id or "–", what)
    console.print(table)
    _print_best(record, store, out)


def delete_command(search_id: str) -> None:
    with open_studies(Store.open().home) as studies:
        studies.delete(search_id)


def _print_best(record: SearchRecord, store: Store, out: Path | None) -> None:
    best = record.best
    if best is None:
        console.print("No trial has finished.")
        return
    table = Table(title=f"The best of {record.ended} trials: {best.number + 1}", box=SIMPLE_HEAD)
    for column in ("block", "sparsity", "change"):
        table.add_column(column, justify="right")
    target = record.search.base.sparsity
    for block, value in best.sparsities.items():
        table.add_row(str(block), f"{value:.4f}", f"{value - target:+.4f}")
    console.print(table)
    _print_perplexities(record, best, store)
    console.print(
        f"Search {record.id}. To see it in the allocation studio: /spectra?studio_search={record.id}&studio_target={target:g}",
        soft_wrap=True,
    )
    if out:
        profile = known_profile(record.search.base.model, store)
        sparsities = _by_module(record, best, profile)
        with writing(out):
            text = as_json(sparsities) if out.suffix == ".json" else as_csv(sparsities, profile)
            out.write_text(text, encoding="utf-8")


def _by_module(record: SearchRecord, trial: Trial, profile: ModelProfile) -> dict[str, float]:
    config = record.search.trial(trial.sparsities)
    return allocate(config.allocation, config.pattern, profile, config.sparsity)


def _print_perplexities(record: SearchRecord, best: Trial, store: Store) -> None:
    """The start's and the best's on the text that chose it, and on those that did not."""
    runs = {run.id: run for run in store.runs([trial.run_id for trial in (record.trials[0], best) if trial.run_id])}
    for title, trial in ((record.trials[0].start, record.trials[0]), ("the best", best)):
        run = runs.get(trial.run_id or "")
        if run is None or run.result is None:
            continue
        result = run.result
        found = [(result.evaluated_on, result.perplexity), *((text.evaluated_on, text.pruned) for text in result.also)]
        words = "; ".join(f"{with_error(p.value, p.standard_error)} on {text}" for text, p in found)
        console.print(f"Perplexity, {title}: {words} (run {run.id})", markup=False, soft_wrap=True)
    if not record.search.base.evaluation.also:
        console.print(
            "The text that chose the best flatters it; --evaluation-also CORPUS measures every trial on another besides.",
            soft_wrap=True,
        )
