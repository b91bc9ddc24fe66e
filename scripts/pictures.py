"""A picture of every page: ``python -m scripts.pictures docs``; of the store that ``PRUNESCOPE_HOME`` has."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import click

from core.store import Store
from scripts.picture import served, take

_TALLEST = 1500
_PAGES = {
    "prune": "",
    "spectra": "spectra",
    "scores": "scores",
    "sparsity": "sparsity",
    "curves-page": "curves",
    "compare": "compare",
    "learn": "learn",
    "runs": "runs",
}
"""Addresses by the names of the pictures."""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, exists=True, path_type=Path))
@click.option("--run", "run_id", help="The run that is shown; the latest finished one unless given.")
@click.option("--with", "other", help="The run it is compared with; the one before unless given.")
@click.option("--sweep", help="The sweep whose curve is shown; the latest unless given.")
@click.option("--block", default=7, show_default=True)
@click.option("--module", default="mlp.down_proj", show_default=True)
@click.option("--only", multiple=True, type=click.Choice(list(_PAGES)), help="Only these pages.")
def main(
    folder: Path,
    run_id: str | None,
    other: str | None,
    sweep: str | None,
    block: int,
    module: str,
    only: tuple[str, ...],
) -> None:
    """FOLDER: where prune.png, spectra.png … are written."""
    store = Store.open()
    finished = [run.id for run in store.runs() if run.result is not None]
    if len(finished) < 2:
        raise click.ClickException("There must be two finished runs to take pictures of; prune a model twice first.")
    run_id = run_id or finished[0]
    shown = {
        "run": run_id,
        "with": other or next(one for one in finished if one != run_id),
        "block": block,
        "module": module,
        "sweep": sweep or next((record.id for record in store.sweeps.all()), "all"),
    }
    with served() as (address, browser):
        for name in only or _PAGES:
            take(browser, f"{address}/{_PAGES[name]}?{urlencode(shown)}", folder / f"{name}.png", tallest=_TALLEST)


if __name__ == "__main__":
    main()
