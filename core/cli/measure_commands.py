"""The commands that measure a model or a run, or say what an allocation makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from core.cli.options import EvaluateCommand, GenerateCommand, ModelCommand, RunCommand, config_values


@click.command(cls=ModelCommand)
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


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--module", required=True, metavar="NAME", help="Its full name, such as model.layers.0.mlp.down_proj.")
@click.option("--against", metavar="METHOD", help="Another method beside the run's. [default: magnitude, or wanda]")
@click.option(
    "--window",
    metavar="ROW,COLUMN,EXTENT",
    help="Write the weights of this window, one a row, in the place of the map: first output, first input, how many of each.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the table: .csv or .parquet.")
def scores(run_id: str, module: str, against: str | None, window: str | None, out: Path | None) -> None:
    """Print where the cut between kept and pruned weights of a module lies, and how far another method agrees."""
    from core.cli.scores import print_scores

    print_scores(run_id, module, against, window, out)


@click.command(cls=RunCommand)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it: .csv, .json or .parquet.")
def allocate(out: Path | None, **given: Any) -> None:
    """Print how an allocation spreads a sparsity over the layers; what it rests on is measured once, then known."""
    from core.cli.allocating import print_allocation
    from core.cli.subjects import described_config

    print_allocation(described_config(config_values(given)), out)


@click.command(cls=EvaluateCommand)
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


@click.command(cls=GenerateCommand)
@click.option("--prompt", required=True, metavar="TEXT", help="The text to continue.")
@click.option("--run", "run_id", metavar="RUN", help="The dense model of this run, and what the run left of it.")
def generate(prompt: str, run_id: str | None, **given: Any) -> None:
    """Continue a prompt with a model, or with a run and its dense model."""
    from core.cli.generating import print_continuation

    print_continuation(prompt, run_id, given)
