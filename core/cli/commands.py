"""The commands of ``python -m core``."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from core.cli.measure_commands import allocate, evaluate, generate, scores, spectra
from core.cli.options import RunCommand, config_values
from core.cli.search_commands import search, searches
from core.cli.sweep_commands import compare, sweep, sweeps
from core.cli.zero_shot import zero_shot
from core.disk import writing
from core.errors import Cancelled, InputError, explain
from core.plugins import VARIABLE

_NOT_FOUND_CODE, _CANCELLED_CODE = 2, 130


class _Commands(click.Group):
    """Tells what the user can mend in one sentence, with exit code 2."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (InputError, ValidationError) as error:
            click.echo(f"Error: {explain(error)}", err=True)
            sys.exit(_NOT_FOUND_CODE)
        except OSError as error:  # a full disk, a folder that cannot be written
            click.echo(f"Error: {explain(error)}", err=True)
            sys.exit(_NOT_FOUND_CODE)
        except (Cancelled, KeyboardInterrupt):
            click.echo("Cancelled.", err=True)
            sys.exit(_CANCELLED_CODE)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--home", metavar="FOLDER", help="Where runs are kept (PRUNESCOPE_HOME).")
@click.option("--cache", metavar="FOLDER", help="Where converted models and token ids are kept (PRUNESCOPE_CACHE).")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="MODULE",
    help="A module or .py file that registers methods and the like; as often as wanted (PRUNESCOPE_PLUGINS).",
)
@click.option("--verbose", is_flag=True, help="Log what happens.")
def main(home: str | None, cache: str | None, plugins: tuple[str, ...], verbose: bool) -> None:
    """Prune language models and see what it does to them."""
    logging.basicConfig(level=logging.INFO if verbose else logging.CRITICAL)
    _quiet_libraries()
    named = ",".join(plugins)
    for name, value in (("PRUNESCOPE_HOME", home), ("PRUNESCOPE_CACHE", cache), (VARIABLE, named)):
        if value:
            os.environ[name] = value


def _quiet_libraries() -> None:
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


@main.command(cls=RunCommand)
@click.option(
    "--config",
    "config_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A config as JSON (as --json and exports write it); other run options are then not allowed.",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the result to FILE.")
@click.option("--save", "save_to", type=click.Path(path_type=Path), help="Save the pruned model to this folder.")
@click.option("--overwrite", is_flag=True, help="Let --save replace what is there.")
@click.option("--delete", "drop_weights", is_flag=True, help="Keep no weights of this run, only masks and figures.")
def prune(
    config_file: Path | None,
    json_file: Path | None,
    save_to: Path | None,
    overwrite: bool,
    drop_weights: bool,
    **given: Any,
) -> None:
    """Prune a model, measure it, and write the run to the store."""
    from core.api import run_config
    from core.cli.output import ProgressBar, console, result_table
    from core.export import save
    from core.store import Store
    from core.target import check_target
    from core.written import run_json

    if save_to and drop_weights:
        raise InputError("--delete would delete what --save keeps; leave one of them out.")
    if json_file and not json_file.parent.is_dir():
        raise InputError(f"json = {str(json_file)!r} lies in a folder that does not exist; create {json_file.parent}.")
    config = _config(config_file, given)
    if save_to:
        check_target(save_to, overwrite, config.model)
    store = Store.open()
    with ProgressBar() as bar:
        loaded, run = run_config(config, store, bar)
        if save_to:
            save(loaded, run, store, save_to, overwrite)
    if drop_weights:
        store.delete_weights(run.id)
    if json_file:
        modules = store.modules(run.id).to_dict(orient="records")
        with writing(json_file):
            json_file.write_text(json.dumps(run_json(run, modules), indent=2), encoding="utf-8")
    console.print(result_table(run))


def _config(config_file: Path | None, given: dict[str, Any]) -> Any:
    from core.cli.subjects import described_config
    from core.config import RunConfig

    if config_file is None:
        return described_config(config_values(given))
    beside = sorted(name for name, value in given.items() if value is not None and value != ())
    if beside:
        raise InputError(
            f"--{beside[0].replace('_', '-')} is given beside --config; change the file, or leave one out."
        )
    try:
        content = json.loads(config_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"config = {str(config_file)!r} is not JSON ({error}).") from None
    return RunConfig.model_validate(content.get("config", content) if isinstance(content, dict) else content)


@main.command()
@click.option("--bibtex", is_flag=True, help="Print the BibTeX of all papers instead.")
def methods(bibtex: bool) -> None:
    """List the methods, patterns, stages, allocations and statistics that are registered."""
    from core.cli.output import all_bibtex, console, registered_tables

    if bibtex:
        click.echo(all_bibtex())
        return
    for table in registered_tables():
        console.print(table)


for command in (sweep, sweeps, search, searches, compare, spectra, scores, allocate, evaluate, generate, zero_shot):
    main.add_command(command)


@main.group()
def runs() -> None:
    """List, show, export, import and delete runs of the store."""


@runs.command("list")
def list_runs() -> None:
    """List all runs, the latest first."""
    from core.cli.output import console, runs_table
    from core.store import Store

    store = Store.open()
    store.reconcile()
    console.print(runs_table(store.runs()))


@runs.command("show")
@click.argument("run_id")
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the run in full (.json), or its table of modules (.csv).",
)
def show_run(run_id: str, out: Path | None) -> None:
    """Show a run's figures, or why there are none."""
    from core.cli.transferring import show

    show(run_id, out)


@runs.command("export")
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN…")
@click.argument("target", type=click.Path(path_type=Path), metavar="FOLDER|FILE.zip")
@click.option("--overwrite", is_flag=True, help="Replace what is there.")
@click.option(
    "--no-weights", is_flag=True, help="Into a .zip: without updated weights; they are made again when needed."
)
def export_command(run_ids: tuple[str, ...], target: Path, overwrite: bool, no_weights: bool) -> None:
    """Write a run's pruned model as a Hugging Face folder; or any runs into one .zip, which `runs import` takes in
    elsewhere: configs, figures, tables, masks and kept weights."""
    from core.cli.transferring import export

    export(run_ids, target, overwrite, not no_weights)


@runs.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE.zip")
def import_command(file: Path) -> None:
    """Take in the runs of a .zip that `runs export` wrote; what has finished here stays as it is."""
    from core.cli.transferring import import_file

    import_file(file)


@runs.command("accelerate")
@click.argument("run_id")
def accelerate_command(run_id: str) -> None:
    """Measure a 2:4 run's forward with PyTorch's semi-structured weights (CUDA only)."""
    from core.acceleration import measure, why_not
    from core.config import pinned_texts
    from core.evaluating import evaluation_tokens
    from core.reopening import reopen
    from core.store import Store

    store = Store.open()
    run = store.run(run_id)
    if run.result and (reason := why_not(run.result.environment["device"])):
        raise InputError(reason)
    loaded = reopen(run_id, store)
    windows = evaluation_tokens(pinned_texts(run.config, run.identity).evaluation, run.config.model)
    done = measure(loaded.model, windows[: run.config.evaluation.batch_size])
    click.echo(
        f"{len(done.modules)} modules accelerated: {1000 * done.dense_seconds:.1f} ms a forward before, "
        f"{1000 * done.accelerated_seconds:.1f} ms after ({done.dense_seconds / done.accelerated_seconds:.2f} times as fast)."
    )


@runs.command("delete")
@click.argument("run_id")
def delete_run(run_id: str) -> None:
    """Delete a run with its artifacts."""
    from core.store import Store

    Store.open().delete(run_id)
    click.echo(f"Deleted {run_id}.")


@main.command()
def setup() -> None:
    """Prepare the embedded model and corpus once, so that the first run starts at once."""
    from core.setup import prepare

    prepare(_say)


def _say(text: str) -> None:
    click.echo(text)
