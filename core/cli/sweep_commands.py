"""The commands about many runs: sweeps, and comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from core.cli.options import CompareCommand, RunCommand


@click.command(cls=RunCommand)
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


@click.group()
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


@click.command(cls=CompareCommand)
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
