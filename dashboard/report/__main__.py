"""``python -m dashboard.report RUN [RUN_B] --out FILE.html``: the report of a run, or of two."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from core.disk import writing
from core.errors import InputError, explain
from core.store import Store
from dashboard.report import comparison_report, run_report


@click.command()
@click.argument("run_id", metavar="RUN")
@click.argument("other_id", metavar="[RUN_B]", required=False)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE.html")
def main(run_id: str, other_id: str | None, out: Path) -> None:
    """Write a run, or a comparison of two, as one HTML file that opens without a network."""
    try:
        if out.suffix != ".html" or not out.parent.is_dir():
            raise InputError(
                f"out = {str(out)!r} is not a file this can write; end it in .html, in a folder that exists."
            )
        store = Store.open()
        run = store.run(run_id)
        html = run_report(run, store) if other_id is None else comparison_report(run, store.run(other_id), store)
        with writing(out):
            out.write_text(html, encoding="utf-8")
    except (InputError, OSError) as error:
        click.echo(f"Error: {explain(error)}", err=True)
        sys.exit(2)
    click.echo(f"Saved to {out}.")


if __name__ == "__main__":
    main()
