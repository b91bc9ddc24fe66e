"""The tables and figures of a run, from what its events tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from core.events import GroupRefined, ModuleEvent


def module_table(events: Sequence[ModuleEvent]) -> pd.DataFrame:
    """One row a module, in the order in which they were pruned; what stages report in columns of its name."""
    return pd.DataFrame(
        {
            "module": event.module,
            "block": event.block,
            "label": event.label,
            "rows": event.shape[0],
            "columns": event.shape[1],
            "parameters": event.parameters,
            "target": event.target,
            "pruned": event.pruned,
            "sparsity": event.sparsity,
            "dead_inputs": event.dead_inputs,
            "error": event.error,
            "error_basis": event.error_basis,
            "updated": event.updated,
            "seconds": event.seconds,
            **event.report,
        }
        for event in events
    )


def group_table(events: Sequence[GroupRefined]) -> pd.DataFrame:
    """One row a part of a block that a stage refined."""
    return pd.DataFrame(
        {"block": event.block, "group": event.group, "stage": event.stage, **event.report} for event in events
    )


def by_block(modules: pd.DataFrame) -> pd.DataFrame:
    """One row a block: sparsity and target of its modules, weighted by parameters."""
    weighted = modules.assign(wanted=modules.target * modules.parameters)
    sums = weighted.groupby("block", as_index=False)[["pruned", "wanted", "parameters"]].sum()
    return sums.assign(sparsity=sums.pruned / sums.parameters, target=sums.wanted / sums.parameters)


def footprint(modules: pd.DataFrame, itemsize: int) -> dict[str, Any]:
    """Counts and bytes of the prunable modules: dense; with a bit a weight and the survivors; packed, where rounded.

    A module that was replaced by factors has their weights, no mask, and no zeros.
    """
    factored = modules.get("factored_parameters", pd.Series(0, index=modules.index)).fillna(0)
    masked = modules.parameters.where(factored == 0, 0)
    survivors = masked - modules.pruned
    mask_bytes = -(-masked // 8)
    values: dict[str, Any] = {
        "pruned": int(modules.pruned.sum()),
        "parameters": int(modules.parameters.sum()),
        "parameters_after": int((masked + factored).sum()),
        "dense_bytes": int(modules.parameters.sum()) * itemsize,
        "bitmask_bytes": int(((survivors + factored) * itemsize + mask_bytes).sum()),
    }
    if "bits" in modules:
        bits = survivors * modules.bits + modules.grid_bits
        values["packed_bytes"] = int(((bits + 7) // 8 + mask_bytes).sum())
    return values


def summary(modules: pd.DataFrame, groups: pd.DataFrame) -> dict[str, float]:
    """What the stages did to the model as a whole, by name."""
    figures = {"mean_error": float(modules.error.mean())}
    for column in modules.columns[modules.columns.str.startswith("retained_")]:
        figures[column] = float(modules[column].sum())
    if "swapped" in modules:
        figures["swapped"] = float((modules.swapped * modules.parameters).sum() / modules.parameters.sum())
    if "exchanged" in modules:
        figures["exchanged"] = float(
            (modules.exchanged.fillna(0) * modules.parameters).sum() / modules.parameters.sum()
        )
        figures |= {name: float(modules[name].mean()) for name in ("expected_before", "expected_after")}
    if len(groups):
        figures |= {name: float(groups[name].mean()) for name in ("loss_before", "loss_after")}
        figures["loss_lowered"] = float((groups.loss_after < groups.loss_before).mean())
    if "energy" in modules:
        figures["energy"] = float(modules.energy.mean())
    return figures


def retained_words(figures: Mapping[str, float]) -> str:
    """How the retained score went: plain, reallocated, after the last round of LSA; empty where nothing was reallocated."""
    plain = figures.get("retained_plain")
    if plain is None:
        return ""
    rounds = [value for name, value in figures.items() if name.startswith("retained_lsa_")]
    return " → ".join(f"{score:.6g}" for score in (plain, figures["retained_reallocated"], *rounds[-1:]))


def loss_words(figures: Mapping[str, float]) -> str:
    """How the mean block loss went, and in which share of the sub-blocks it fell; empty where nothing was refined."""
    if "loss_before" not in figures:
        return ""
    return f"{figures['loss_before']:.4g} → {figures['loss_after']:.4g} (fell in {figures['loss_lowered']:.0%})"
