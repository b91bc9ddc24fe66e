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

from core.cli.options import CompareCommand, EvaluateCommand, GenerateCommand, ModelCommand, RunCommand, config_values
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
    from core.api import make_config
    from core.config import RunConfig
    from core.models.sources import parse_source

    if config_file is None:
        values = config_values(given)
        model = parse_source(values.pop("model"), **values.pop("model_options"))
        return make_config(model, **values)
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


@main.command(cls=RunCommand)
@click.option(
    "--axis",
    "axes",
    multiple=True,
    required=True,
    metavar="NAME=VALUE,…",
    help="A part of the config and its values: method=wanda,ria:power=0.3; sparsity=0.3,0.5,2:4; allocation=uniform,owl; "
    "stages=none,lsa+reconstruction; calibration.seed=0,1,2; allocation.epsilon=0.1,0.2. As often as wanted; the same name "
    "again adds values.",
)
@click.option("--name", metavar="NAME", help="What to call it. [default: its axes]")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table: .md, .csv or .json.")
def sweep(axes: tuple[str, ...], name: str | None, out: Path | None, **given: Any) -> None:
    """Prune along axes, every combination a run of its own, and print one table.

    Finished runs are not run again, so the same command goes on where it was stopped. What the other options say is the
    same for all.
    """
    from core.cli.sweeping import sweep_command

    sweep_command(axes, name, out, given)


@main.group()
def sweeps() -> None:
    """List, show, resume and delete sweeps."""


@sweeps.command("list")
def list_sweeps() -> None:
    """List all sweeps, the latest first."""
    from core.cli.output import console
    from core.cli.sweeping import sweeps_table
    from core.store import Store

    store = Store.open()
    store.reconcile()
    console.print(sweeps_table(store))


@sweeps.command("show")
@click.argument("sweep_id")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table: .md, .csv or .json.")
def show_sweep(sweep_id: str, out: Path | None) -> None:
    """Show how far a sweep is, and the table of what is finished."""
    from core.cli.sweeping import show_command

    show_command(sweep_id, out)


@sweeps.command("resume")
@click.argument("sweep_id")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table: .md, .csv or .json.")
def resume_sweep(sweep_id: str, out: Path | None) -> None:
    """Run what is missing of a sweep."""
    from core.cli.sweeping import resume_command

    resume_command(sweep_id, out)


@sweeps.command("delete")
@click.argument("sweep_id")
def delete_sweep(sweep_id: str) -> None:
    """Forget a sweep; its runs stay."""
    from core.store import Store

    Store.open().sweeps.delete(sweep_id)
    click.echo(f"Deleted {sweep_id}; its runs are still there.")


@main.command(cls=CompareCommand)
@click.argument("run_ids", nargs=-1, metavar="[RUN_A RUN_B]")
@click.option(
    "--sparsity", "sparsities", multiple=True, metavar="S", help="0.5, or 2:4; as often as wanted. [default: 0.5]"
)
@click.option("--method", "methods", multiple=True, metavar="METHOD", help="As often as wanted. [default: all]")
@click.option(
    "--stages",
    "stage_sets",
    multiple=True,
    metavar="STAGES",
    help="Stages used together, such as reallocation+reconstruction, beside plain; lsa stands for reallocation with LSA. "
    "As often as wanted. [default: each by itself]",
)
@click.option(
    "--allocation",
    "allocations",
    multiple=True,
    metavar="ALLOCATION",
    help="Such as owl, or alpha_pruning:metric=stable_rank,epsilon=0.2; as often as wanted. Without --stages, no stage then. "
    "[default: uniform]",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table: .md, .csv or .json.")
def compare(
    run_ids: tuple[str, ...],
    sparsities: tuple[str, ...],
    methods: tuple[str, ...],
    stage_sets: tuple[str, ...],
    allocations: tuple[str, ...],
    out: Path | None,
    **given: Any,
) -> None:
    """Compare two runs, or prune with every method, with and without each stage, and print one table.

    Of two runs: what differs in their configs and figures, and module by module how far the same weights survived. Without
    runs it is a sweep: finished runs are not run again.
    """
    from core.cli.comparing import compare_runs, run_comparison

    if run_ids:
        chosen = {"sparsity": sparsities, "method": methods, "stages": stage_sets, "allocation": allocations, **given}
        compare_runs(run_ids, out, [name for name, value in chosen.items() if value not in (None, ())])
    else:
        run_comparison(sparsities, methods, stage_sets, allocations, out, given)


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


@main.command(cls=ModelCommand)
@click.option(
    "--fit", type=click.Choice(["median", "peak", "ks"]), default="peak", show_default=True, help="Where tails begin."
)
@click.option(
    "--bound",
    type=click.Choice(["reference", "corrected"]),
    default="reference",
    show_default=True,
    help="Lower end of the peak fit: as the authors' program has it, or as it was meant.",
)
@click.option("--run", "run_id", metavar="RUN", help="The weights that this run left, in the place of a dense model's.")
@click.option("--randomised", is_flag=True, help="Of each matrix with its entries permuted at random, for comparison.")
@click.option(
    "--compare", is_flag=True, help="Compare each tail's power law with lognormal, exponential, truncated power law."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table: .csv or .parquet.")
def spectra(
    fit: Any, bound: Any, run_id: str | None, randomised: bool, compare: bool, out: Path | None, **given: Any
) -> None:
    """Print the spectra of a model's weights: alpha, its standard error, D, and other metrics of every module."""
    from core.cli.spectra import print_spectra

    print_spectra(fit, bound, run_id, randomised, compare, out, given)


@main.command(cls=RunCommand)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it: .csv, .json or .parquet.")
def allocate(out: Path | None, **given: Any) -> None:
    """Print how an allocation spreads a sparsity over the layers; what it rests on is measured once, then known."""
    from core.cli.allocating import print_allocation

    print_allocation(_config(None, given), out)


@main.command(cls=EvaluateCommand)
@click.option(
    "--run",
    "run_id",
    metavar="RUN",
    help="This run beside its dense model. What is not said of the texts is then as in the run, and --evaluation-corpus "
    "replaces all of its corpora.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table: .csv or .json.")
def evaluate(run_id: str | None, out: Path | None, **given: Any) -> None:
    """Print the perplexity of a model, or of a run and its dense model, on any texts; measured once, then known."""
    from core.cli.evaluating import print_evaluation

    print_evaluation(run_id, out, given)


@main.command(cls=GenerateCommand)
@click.option("--prompt", required=True, metavar="TEXT", help="The text to continue.")
@click.option("--run", "run_id", metavar="RUN", help="The dense model of this run, and what the run left of it.")
def generate(prompt: str, run_id: str | None, **given: Any) -> None:
    """Continue a prompt with a model, or with a run and its dense model."""
    from core.cli.generating import print_continuation

    print_continuation(prompt, run_id, given)


main.add_command(zero_shot)


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
