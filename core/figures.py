"""The tables and figures of a run, from what its events tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from core.events import GroupRefined, ModuleEvent
from core.statistics.sample import SAMPLE_TOKENS


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
            "error_basis": f"the first {SAMPLE_TOKENS} calibration tokens",
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


def tuning_curves(groups: pd.DataFrame) -> pd.DataFrame:
    """One row an epoch of a block that was tuned: ``block``, ``epoch`` (0: untuned), the errors ``held_out`` and ``training`` (of
    epoch 0 there is none) and ``share``, the held-out error as a share of the untuned one's; empty where nothing was."""
    if "held_out_0" not in groups:
        return pd.DataFrame({name: [] for name in ("block", "epoch", "held_out", "training", "share")})
    tuned = groups.dropna(subset="held_out_0")
    parts = []
    for column in tuned.columns[tuned.columns.str.fullmatch(r"held_out_\d+")]:
        epoch = int(column.removeprefix("held_out_"))
        training = tuned.get(f"training_{epoch}", pd.Series(float("nan"), index=tuned.index))
        parts.append(
            pd.DataFrame(
                {
                    "block": tuned.block,
                    "epoch": epoch,
                    "held_out": tuned[column],
                    "training": training,
                    "share": tuned[column] / tuned.held_out_0,
                }
            )
        )
    table = pd.concat(parts).dropna(subset="held_out")
    return table.sort_values(["block", "epoch"], ignore_index=True)


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
    if "loss_before" in groups:
        refined = groups.dropna(subset="loss_before")
        figures |= {name: float(refined[name].mean()) for name in ("loss_before", "loss_after")}
        figures["loss_lowered"] = float((refined.loss_after < refined.loss_before).mean())
    if "held_out_0" in groups:
        tuned = groups.dropna(subset="held_out_0")
        figures["tuned_ratio"] = float((tuned.held_out_lowest / tuned.held_out_0).mean())
        figures["tuned_lowered"] = float((tuned.held_out_lowest < tuned.held_out_0).mean())
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


def tuning_words(figures: Mapping[str, float]) -> str:
    """How far the blocks' error on held-out windows fell; empty where nothing was tuned."""
    if "tuned_ratio" not in figures:
        return ""
    return f"{figures['tuned_ratio'] - 1:+.1%} on average (fell in {figures['tuned_lowered']:.0%} of the blocks)"


def loss_words(figures: Mapping[str, float]) -> str:
    """How the mean block loss went, and in which share of the sub-blocks it fell; empty where nothing was refined."""
    if "loss_before" not in figures:
        return ""
    return f"{figures['loss_before']:.4g} → {figures['loss_after']:.4g} (fell in {figures['loss_lowered']:.0%})"
