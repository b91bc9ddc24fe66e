"""What others published, from one data file, and how far a run is from it.

``results.json`` holds the tables of the research programs as they are printed there. A range for no particular model ("10-12
for LLaMA-family models") is no result, and stays out.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import NamedTuple, Self

import pandas as pd
from pydantic import BaseModel, model_validator

from core.allocation import Uniform
from core.config import RunConfig
from core.methods import Method
from core.models.sources import Hub, ModelSource
from core.patterns import Pattern, Unstructured
from core.store import Run

DENSE = "dense"


class Source(BaseModel, frozen=True, extra="forbid"):
    """Where results are printed, and what is said there of how they were measured."""

    seed: int
    """The number of the document in which this project found it."""
    title: str
    kind: str
    table: str
    conditions: str


class PublishedResult(BaseModel, frozen=True, extra="forbid"):
    """One figure as it is printed; ``method`` is a registered name or "dense", ``corpus`` the name of a corpus here."""

    source: str
    model: str
    method: str
    sparsity: str
    """A percentage of unstructured pruning, or N:M."""
    corpus: str
    perplexity: str

    @property
    def value(self) -> float:
        return float(self.perplexity)

    @property
    def pattern(self) -> Pattern:
        return Pattern.parse(self.sparsity) if ":" in self.sparsity else Unstructured()

    @property
    def target(self) -> float:
        """The fraction pruned."""
        fixed = self.pattern.sparsity
        return float(self.sparsity.removesuffix("%")) / 100 if fixed is None else fixed


class Published(BaseModel, frozen=True, extra="forbid"):
    """The data file: sources by name, the hub ids of each model by its published name, and the results."""

    sources: dict[str, Source]
    models: dict[str, tuple[str, ...]]
    results: tuple[PublishedResult, ...]

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        for result in self.results:
            if result.source not in self.sources or result.model not in self.models:
                raise ValueError(f"{result} names a source or model that the file does not describe.")
        return self

    def of(self, model: ModelSource) -> list[PublishedResult]:
        """The results of this very model, known by its hub id."""
        return [r for r in self.results if isinstance(model, Hub) and model.id in self.models[r.model]]


@cache
def published() -> Published:
    """All that is known to have been published."""
    return Published.model_validate_json(files("core.published").joinpath("results.json").read_bytes())


class Against(NamedTuple):
    """A figure of a run beside a published one; whether windows and calibration were alike the reader must judge."""

    result: PublishedResult
    source: Source
    perplexity: float

    @property
    def difference(self) -> float:
        """The run's perplexity minus the published one."""
        return self.perplexity - self.result.value


def against_published(run: Run) -> list[Against]:
    """The figures of a finished run, dense and pruned, beside those published for the same model, method and sparsity on
    the same corpus. Empty where nothing of the kind was published."""
    return list(_against(run)) if run.result is not None else []


def _against(run: Run) -> Iterator[Against]:
    assert run.result is not None
    known, own = published(), run.result
    pairs = [(own.dense_perplexity, own.perplexity), *((text.dense, text.pruned) for text in own.also)]
    measured = zip((part.corpus.name for part in run.config.evaluation.each), pairs, strict=True)
    found = dict(reversed(list(measured)))  # the first of a name counts
    for result in known.of(run.config.model):
        if result.corpus not in found:
            continue
        dense, pruned = found[result.corpus]
        if result.method == DENSE:
            yield Against(result, known.sources[result.source], dense.value)
        elif _same_pruning(run.config, result):
            yield Against(result, known.sources[result.source], pruned.value)


def _same_pruning(config: RunConfig, result: PublishedResult) -> bool:
    """Whether the run did what was published: the method as it comes, alone, every layer alike."""
    return (
        config.method == Method.registry[result.method]()
        and config.pattern == result.pattern
        and abs(config.sparsity - result.target) < 1e-9
        and config.allocation.name == Uniform.name
        and not config.stages
    )


def published_table(model: ModelSource | None = None) -> pd.DataFrame:
    """One row a published result, of ``model`` or of all models, with the columns of a sweep's table where they mean the same
    (``target`` is the fraction pruned), ``corpus``, and ``source`` and ``conditions`` in words."""
    known = published()
    rows = [
        {
            "model": result.model,
            "sparsity": result.sparsity,
            "target": result.target,
            "pattern": result.pattern.label,
            "method": "Dense" if result.method == DENSE else Method.registry[result.method].title,
            "corpus": result.corpus,
            "perplexity": result.value,
            "printed": result.perplexity,
            "source": f"{known.sources[result.source].title}: {known.sources[result.source].table}",
            "conditions": known.sources[result.source].conditions,
        }
        for result in (known.results if model is None else known.of(model))
    ]
    columns = [
        "model",
        "sparsity",
        "target",
        "pattern",
        "method",
        "corpus",
        "perplexity",
        "printed",
        "source",
        "conditions",
    ]
    return pd.DataFrame(rows, columns=columns)
