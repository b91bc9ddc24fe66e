"""A prompt continued by a model, or by a run and its dense model, as a command."""

from __future__ import annotations

from typing import Any

import click

from core.api import measure_now
from core.cli.output import ProgressBar
from core.cli.subjects import chosen_run, dense_and_pruned
from core.evaluation.generation import Generation
from core.measurements.generation import Continuation
from core.store import Store


def print_continuation(prompt: str, run_id: str | None, given: dict[str, Any]) -> None:
    """Prints what comes after the prompt, of the dense model and, where one was named, of the run; written once, then known."""
    chosen = {name: given.pop(name) for name in list(given) if name in Generation.model_fields}
    generation = Generation.model_validate(
        {"prompt": prompt, **{name: value for name, value in chosen.items() if value is not None}}
    )
    store = Store.open()
    run = chosen_run(run_id, store, given)
    written = dense_and_pruned(Continuation, run, given, generation=generation)
    with ProgressBar() as bar:
        for continuation in written.values():
            measure_now(continuation, store, bar)
    for kind, continuation in written.items():
        whose = f"{run.name}, run {run.id}" if run and continuation.run else continuation.model.label
        click.echo(f"--- {kind}: {whose}\n{prompt}{' → ' if generation.chat else ''}{continuation.text(store)}\n")
