"""What differs between two runs: their configs, their figures, and module by module what they pruned."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel

from core.config import Identity, RunConfig
from core.errors import InputError
from core.evaluated import text_key
from core.registry import Component
from core.store import Run, RunResult, Store

_STANDS_FOR: dict[str, Callable[[RunConfig], Any]] = {
    "model_revision": lambda config: config.model,
    "calibration_fingerprint": lambda config: config.calibration.corpus,
    "evaluation_fingerprint": lambda config: config.evaluation.corpus,
    "also_fingerprints": lambda config: config.evaluation.also,
}
"""Which part of a config an identity resolves; the rest of an identity is about the whole."""


def _whole(config: RunConfig) -> RunConfig:
    return config


def config_difference(a: Run, b: Run) -> pd.DataFrame:
    """What is not the same in two configs: rows of ``path``, ``a`` and ``b``; None where one has no such part.

    Rows below ``identity`` tell what changed between the runs although the configs name the same: a model, a text, the
    program.
    """
    left, right = dict(_flat("", a.config)), dict(_flat("", b.config))
    for name in Identity.model_fields:
        part = _STANDS_FOR.get(name, _whole)
        if part(a.config) == part(b.config):
            left[f"identity.{name}"], right[f"identity.{name}"] = getattr(a.identity, name), getattr(b.identity, name)
    rows = [(path, left.get(path), right.get(path)) for path in {**left, **right} if left.get(path) != right.get(path)]
    return pd.DataFrame(rows, columns=["path", "a", "b"], dtype=object)


def _flat(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every plain value by its dotted path; a component by its name, and then its parameters."""
    if isinstance(value, Component):
        yield path, value.name
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _flat(f"{path}.{name}".lstrip("."), getattr(value, name))
    elif isinstance(value, tuple):
        names: Counter[str] = Counter()
        for part in value:
            names[part.name] += 1
            again = f" {names[part.name]}" if names[part.name] > 1 else ""
            yield from _flat(f"{path}.{part.name}{again}", part)
    else:
        yield path, value


def figure_difference(a: Run, b: Run) -> pd.DataFrame:
    """The figures of two finished runs: rows of ``figure``, ``a``, ``b`` and ``difference`` (b - a).

    ``standard error`` is that of the difference, where both were measured on the same windows: then the mean loss is
    compared window by window, and what makes a text hard for both does not count. Raises InputError, naming a run that has
    not finished.
    """
    left, right = _result(a), _result(b)
    rows = [(name, *pair, pair[1] - pair[0], math.nan) for name, pair in _pairs(left, right).items()]
    losses = [np.array(result.perplexity.losses) for result in (left, right)]
    difference, error = math.nan, math.nan
    if _same_windows(a, b):
        paired = losses[1] - losses[0]
        difference = float(paired.mean())
        error = float(paired.std(ddof=1) / math.sqrt(len(paired))) if len(paired) > 1 else math.nan
    rows.insert(2, ("mean loss (nats)", float(losses[0].mean()), float(losses[1].mean()), difference, error))
    return pd.DataFrame(rows, columns=["figure", "a", "b", "difference", "standard error"])


def _pairs(left: RunResult, right: RunResult) -> dict[str, tuple[float, float]]:
    return {
        "dense perplexity": (left.dense_perplexity.value, right.dense_perplexity.value),
        "perplexity": (left.perplexity.value, right.perplexity.value),
        "sparsity": (left.sparsity, right.sparsity),
        "bytes with a bitmask": (left.bitmask_bytes, right.bitmask_bytes),
        **{
            name.replace("_", " "): (left.figures[name], right.figures[name])
            for name in left.figures
            if name in right.figures
        },
        "seconds pruning": (left.prune_seconds, right.prune_seconds),
        "seconds": (left.seconds, right.seconds),
    }


def _same_windows(a: Run, b: Run) -> bool:
    """Whether the losses of one run's windows are those of the other's; the tokens depend on the model too."""
    return same_text(a, b) and same_model(a, b)


def same_text(a: Run, b: Run) -> bool:
    """Whether both were measured on the same text, cut alike; a text of the same name may have changed between them."""
    return measured_text(a) == measured_text(b)


def measured_text(run: Run) -> str:
    """A key of the run's first evaluation text and how it is cut."""
    return text_key(run.config.evaluation.each[0], run.identity.evaluation_fingerprint)


def same_model(a: Run, b: Run) -> bool:
    """Whether both pruned the same dense model."""
    return a.config.model == b.config.model and a.identity.model_revision == b.identity.model_revision


def _result(run: Run) -> RunResult:
    if run.result is None:
        raise InputError(f"run = {run.id!r} has not finished, so there is nothing to compare; repeat the run.")
    return run.result


def module_difference(a: Run, b: Run, store: Store) -> pd.DataFrame:
    """One row a module that both runs pruned: sparsities and errors of both, and how far the same weights survived.

    ``overlap`` is ``|A and B| / |A or B|`` of the keep masks (Jaccard), ``by chance`` what masks of these densities that
    know nothing of each other have; both are NaN where a module's shape differs or a run replaced it by factors, and 1
    where no weight survives in either. ``both`` and ``either`` count weights. Raises InputError as ``figure_difference``.
    """
    _result(a), _result(b)
    columns = ["module", "block", "label", "parameters", "sparsity", "error"]
    tables = [store.modules(run.id)[columns] for run in (a, b)]
    found = tables[0].merge(tables[1][["module", "sparsity", "error"]], on="module", suffixes=(" a", " b"))
    masks = [store.packed_masks(run.id) for run in (a, b)]
    overlaps = [mask_overlap(*(mask.get(module) for mask in masks)) for module in found["module"]]
    found[["both", "either", "overlap", "by chance"]] = np.array(overlaps, dtype=float).reshape(-1, 4)
    found.insert(6, "difference", found["sparsity b"] - found["sparsity a"])
    return found


Packed = tuple[np.ndarray, tuple[int, int]]
"""A keep mask as bits, eight a byte, and its shape."""


class Overlap(NamedTuple):
    """Weights kept by both masks and by either, their quotient (Jaccard), and what that would be by chance."""

    both: float
    either: float
    overlap: float
    by_chance: float


def mask_overlap(a: Packed | None, b: Packed | None) -> Overlap:
    """How far two keep masks agree; NaN where there is only one, or the shapes differ."""
    if a is None or b is None or a[1] != b[1]:
        return Overlap(*[math.nan] * 4)
    size = a[1][0] * a[1][1]
    one, other, both, either = (
        int(np.bitwise_count(bits).sum(dtype=np.int64)) for bits in (a[0], b[0], a[0] & b[0], a[0] | b[0])
    )
    if not either:
        return Overlap(0.0, 0.0, 1.0, 1.0)
    expected = one * other / size
    return Overlap(float(both), float(either), both / either, expected / (one + other - expected))
