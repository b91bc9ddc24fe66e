"""The comparison as a command: which runs it is made of, running what is missing, and its table."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.allocation import Allocation
from core.api import make_config, run_config
from core.cli.options import config_values
from core.cli.output import ProgressBar, console, errors
from core.cli.tables import check_out
from core.comparison import comparison_table, markdown, plain_records, variants
from core.config import RunConfig, identify
from core.disk import writing
from core.errors import InputError, NotFound
from core.methods import Method
from core.models.sources import parse_source
from core.stages import Stage
from core.stages.reallocation import Reallocation
from core.store import Run, Store

_SUFFIXES = (".md", ".csv", ".json")


def run_comparison(
    sparsities: Sequence[str],
    methods: Sequence[str],
    stage_sets: Sequence[str],
    allocations: Sequence[str],
    out: Path | None,
    given: dict[str, Any],
) -> None:
    """Runs what is not in the store yet, prints the table, and writes it to ``out``."""
    check_out(out, _SUFFIXES)
    configs = _configs(sparsities, methods, stage_sets, allocations, given)
    if not configs:
        raise InputError("Nothing of this goes together; `prune` with one of the combinations says why.")
    store = Store.open()
    runs: list[Run] = []
    for number, config in enumerate(configs, start=1):
        errors.print(f"{number} of {len(configs)}: {config.title}")
        runs.append(_finished(config, store))
    table = comparison_table(runs)
    first = runs[0].result
    assert first is not None
    dense = first.dense_perplexity
    text = (
        f"{runs[0].config.model.label}: dense perplexity {dense.value:.2f} ± {dense.standard_error or 0:.2f}; measured on "
        f"{first.evaluated_on}, calibrated on {first.calibrated_on}.\n\n{markdown(table)}"
    )
    console.print(text, markup=False, soft_wrap=True)
    if out:
        content = {
            ".md": f"```\npython -m core {' '.join(sys.argv[1:])}\n```\n\n{text}\n",
            ".csv": table.to_csv(index=False),
            ".json": json.dumps(plain_records(table), indent=2),
        }[out.suffix]
        with writing(out):
            out.write_text(content, encoding="utf-8")


def _configs(
    sparsities: Sequence[str],
    methods: Sequence[str],
    stage_sets: Sequence[str],
    allocations: Sequence[str],
    given: dict[str, Any],
) -> list[RunConfig]:
    values = config_values(given)
    model = parse_source(values.pop("model"), **values.pop("model_options"))
    chosen = [Method.registry[name]() for name in methods or sorted(Method.registry)]
    every = () if allocations else ("reallocation", "lsa", "reconstruction", "barber", "low_rank")
    stages = [_stage_set(text) for text in stage_sets or every]
    spread = [_allocation(text) for text in allocations or ("uniform",)]
    return [
        config
        for sparsity in sparsities
        for config in variants(
            make_config(model, method="magnitude", sparsity=sparsity, **values), chosen, stages, spread
        )
    ]


def _allocation(text: str) -> Allocation:
    """``name`` or ``name:parameter=value,parameter=value``."""
    name, _, parameters = text.partition(":")
    pairs = [part.partition("=") for part in parameters.split(",") if part]
    cls: type[Allocation] = Allocation.registry[name.strip()]
    return cls.model_validate({key.strip(): value.strip() for key, _, value in pairs})


def _stage_set(text: str) -> tuple[Stage, ...]:
    names = [name.strip() for name in text.split("+")]
    return tuple(Reallocation(lsa=True) if name == "lsa" else Stage.registry[name]() for name in names)


def _finished(config: RunConfig, store: Store) -> Run:
    try:
        known = store.run(identify(config).run_id(config))
    except NotFound:
        known = None
    if known is not None and known.result is not None:
        return known
    with ProgressBar() as bar:
        return run_config(config, store, bar)[1]
