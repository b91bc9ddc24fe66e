"""The same model, text and sparsity for every method, with and without each stage."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from pydantic import ValidationError

from core.allocation import Allocation, Uniform
from core.config import RunConfig
from core.figures import loss_words, retained_words
from core.methods import Method
from core.numbers import plain
from core.stages import Stage
from core.store import Run


def variants(
    base: RunConfig,
    methods: Sequence[Method],
    stages: Sequence[tuple[Stage, ...]],
    allocations: Sequence[Allocation] = (Uniform(),),
) -> Iterator[RunConfig]:
    """``base`` with each method and allocation, plain and with each set of stages; what does not go together is left out."""
    for method, allocation, chosen in itertools.product(methods, allocations, [(), *stages]):
        try:
            yield RunConfig(
                model=base.model,
                method=method,
                pattern=base.pattern,
                sparsity=base.sparsity,
                allocation=allocation,
                stages=chosen,
                calibration=base.calibration,
                evaluation=base.evaluation,
            )
        except ValidationError:  # says which two do not go together
            continue


def comparison_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a finished run, in the order given."""
    rows = []
    for run in runs:
        result = run.result
        assert result is not None
        shape = run.config.pattern.label if run.config.pattern.span else f"{run.config.sparsity:.0%}"
        rows.append(
            {
                "sparsity": shape,
                "method": run.config.method.title,
                "allocation": run.config.allocation.described,
                "stages": ", ".join(stage.described for stage in run.config.stages) or "–",
                "perplexity": result.perplexity.value,
                "standard error": result.perplexity.standard_error,
                "achieved": result.sparsity,
                "mean error": result.figures["mean_error"],
                "retained score": retained_words(result.figures),
                "block loss": loss_words(result.figures),
                "pruning seconds": result.prune_seconds,
                "run": run.id,
            }
        )
    return pd.DataFrame(rows)


def plain_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows as JSON can hold them."""
    return [
        {name: plain(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in table.to_dict(orient="records")
    ]


def markdown(table: pd.DataFrame) -> str:
    """The table as people read it in a document."""
    shown = pd.DataFrame(
        {
            "sparsity": table.sparsity,
            "method": table.method,
            "allocation": table.allocation,
            "stages": table.stages,
            "perplexity": [
                f"{value:.2f} ± {error:.2f}"
                for value, error in zip(table.perplexity, table["standard error"], strict=True)
            ],
            "mean error": table["mean error"].map("{:.4f}".format),
            "retained score": table["retained score"],
            "block loss": table["block loss"],
            "seconds": table["pruning seconds"].map("{:.0f}".format),
        }
    )
    shown = shown.loc[:, ~shown.isin(["", "–", Uniform.title]).all() | shown.columns.isin(["stages"])]
    lines = [list(shown.columns), ["---"] * len(shown.columns), *shown.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
