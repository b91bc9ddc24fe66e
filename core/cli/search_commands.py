"""The commands about searches for an allocation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from core.cli.options import RunCommand, field_options

_OUT = (
    "Write the best allocation, by module: .csv or .json, as the allocation studio and --allocation-values read them."
)


class SearchCommand(RunCommand):
    """A command with every option that describes a run, and those of a search."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        from core.search import Search

        return [*super().get_params(ctx), *field_options(Search, skip=("base",))]


@click.command(cls=SearchCommand)
@click.option("--trials", type=click.IntRange(1, 10_000), default=30, show_default=True, help="How many, in all.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help=_OUT)
def search(trials: int, out: Path | None, **given: Any) -> None:
    """Search how much each block should lose: trial after trial, each a run of its own, moves sparsity between blocks.

    It starts from the uniform allocation, and from --allocation where that is given. Finished trials are not run again, so
    the same command goes on where it was stopped, and more --trials go on from the best.
    """
    from core.cli.searching import search_command
    from core.search import Search

    how = {name: given.pop(name) for name in Search.model_fields if name != "base"}
    search_command(trials, {name: value for name, value in how.items() if value is not None}, out, given)


@click.group()
def searches() -> None:
    """List, show and delete searches."""


@searches.command("list")
def list_searches() -> None:
    """List all searches, the latest first."""
    from core.cli.searching import list_command

    list_command()


@searches.command("show")
@click.argument("search_id")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help=_OUT)
def show_search(search_id: str, out: Path | None) -> None:
    """Show the trials of a search, and the best allocation."""
    from core.cli.searching import show_command

    show_command(search_id, out)


@searches.command("delete")
@click.argument("search_id")
def delete_search(search_id: str) -> None:
    """Forget a search; its runs stay."""
    from core.cli.searching import delete_command

    delete_command(search_id)
    click.echo(f"Deleted {search_id}; its runs are still there.")
