"""The allocation studio: how a target is spread over the layers, several ways side by side; edited, exported, used."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st
from pydantic import ValidationError

from core.allocation import Allocation, allocate
from core.allocation.balance import TOLERANCE
from core.allocation.manual import Manual
from core.allocation.table import as_csv, as_json, condensed, read_sparsities
from core.config import RunConfig
from core.errors import InputError, explain
from core.measurements.allocation import AllocationBasis
from core.measurements.spectra import Spectra
from core.patterns import MixedNM, Unstructured
from core.profile import ModelProfile, ModuleInfo
from core.search.records import SearchRecord, Trial
from dashboard.components import cache, forms, measuring, options, plan, plot, text
from dashboard.components.charts.allocation import BlockSparsity, allocation_lines

_SEARCH, _NO_SEARCH = "studio_search", "none"
_FOUND = "Best of the search"


def show(config: RunConfig, profile: ModelProfile) -> None:
    """The studio for the config's model; its method, calibration and seed are those of the config."""
    st.header("Allocation studio", divider="gray")
    st.caption("How much should each layer lose? Choose ways to spread the target, compare them, and use one.")
    _studio(config, profile)


@st.fragment
def _studio(config: RunConfig, profile: ModelProfile) -> None:
    left, right = st.columns([2, 3], gap="large")
    with left:
        target, pattern = _target()
        chosen = forms.components(
            Allocation,
            "studio",
            "Allocations",
            help="Several are drawn side by side.",
            default=["uniform", "alpha_pruning"],
            brief=True,
        )
        searched = _searched(config)
    found: dict[str, dict[str, float]] = {}
    configs: dict[str, RunConfig] = {}
    with right:
        for values in chosen:
            try:
                wanted = _config(config, values, target, pattern)
                if (sparsities := _sparsities(wanted, profile)) is not None:
                    found[wanted.allocation.title] = sparsities
                    configs[wanted.allocation.title] = wanted
            except (InputError, ValidationError) as error:
                st.error(explain(error), icon=":material/error:")
        if searched and searched.best:
            wanted = _config(config, searched.search.trial(searched.best.sparsities).allocation.dump(), target, pattern)
            if (sparsities := _of_search(wanted, profile)) is not None:
                found[_FOUND], configs[_FOUND] = sparsities, wanted
                st.caption(_told(searched, searched.best, target))
        if found:
            _compare(found, profile, target)
    if found:
        _use(found, configs, profile)


def _target() -> tuple[float, Unstructured | MixedNM]:
    target = st.slider(
        "Target sparsity",
        0.05,
        0.95,
        0.7,
        0.01,
        format="percent",
        key="studio_target",
        bind="query-params",
        help="Of all prunable weights; every allocation has this mean, weighted by parameters.",
    )
    mixed = st.toggle(
        "Whole numbers: N:8 in each block",
        key="studio_mixed",
        bind="query-params",
        help="Every block gets an N of its own, so that the model keeps a hardware-friendly N:M pattern. The target must be one "
        "that whole numbers can give, such as 50 % or 62.5 %; the slider is rounded to the nearest eighth.",
    )
    if not mixed:
        return target, Unstructured()
    return min(max(round(target * 8), 1), 7) / 8, MixedNM()


def _searched(config: RunConfig) -> SearchRecord | None:
    """The choice of a search on the config's model whose best is drawn; None, without a question, where there is none."""
    model = config.model.canonical()
    records = {one.id: one for one in cache.searches() if one.best and one.search.base.model.canonical() == model}
    if not records and _SEARCH not in st.query_params:
        return None
    titles = {_NO_SEARCH: "None"} | {
        record.id: f"{record.search.title} · {record.ended} trials · {text.when(record.created_at)}"
        for record in records.values()
    }
    chosen = options.select(
        "Best of a search",
        _SEARCH,
        titles,
        _NO_SEARCH,
        help="Searches try allocations one after another, each as a run of its own: python -m core search.",
    )
    return records.get(chosen)


def _of_search(config: RunConfig, profile: ModelProfile) -> dict[str, float] | None:
    try:
        return allocate(config.allocation, config.pattern, profile, config.sparsity)
    except InputError as error:
        st.error(explain(error), icon=":material/error:")
        return None


def _told(record: SearchRecord, best: Trial, target: float) -> str:
    """What the search found, and what the studio makes of it."""
    first = next(trial for trial in record.trials if trial.perplexity is not None)
    searched = record.search.base.sparsity
    scaled = "" if abs(searched - target) < TOLERANCE else f", here scaled to {target:.4g}"
    return (
        f"{_FOUND}: perplexity {best.perplexity:.2f} (trial {best.number + 1} of {record.ended}); "
        f"{first.start or 'the first'} {first.perplexity:.2f}. Searched at {searched:.4g}{scaled}."
    )


def _config(config: RunConfig, allocation: dict[str, Any], target: float, pattern: Unstructured | MixedNM) -> RunConfig:
    values = config.model_dump(mode="json") | {
        "allocation": allocation,
        "sparsity": target,
        "pattern": pattern.dump(),
        "stages": [],
    }
    return RunConfig.model_validate(values)


def _sparsities(config: RunConfig, profile: ModelProfile) -> dict[str, float] | None:
    """By module; None where something has to be measured first, which is then offered."""
    measured = cache.measured(config)
    if measured is None:
        _offer_basis(config)
        return None
    return allocate(config.allocation, config.pattern, profile, config.sparsity, measured)


def _offer_basis(config: RunConfig) -> None:
    """What the allocation rests on: the spectra where they hold it, since they cost no more; else a measurement of its own."""
    title, where = config.allocation.title, config.allocation.in_spectra
    relevant = AllocationBasis.relevant(config)
    identity = cache.identity(relevant)
    if where is None:
        why = f"{title} rests on a measurement of the dense model, which is made once and then known."
        measuring.offer(AllocationBasis(config=relevant, identity=identity), f"Measure for {title}", why)
        return
    spectra = Spectra(model=config.model, revision=identity.model_revision)
    if where.randomised and spectra.known(cache.store()):
        why = f"{title} by this metric rests on the spectra of the shuffled matrices, computed once and then known."
        measuring.offer(spectra.shuffled, "Compute the shuffled spectra", why, "studio")
    else:
        st.info(f"{title} rests on the spectra: compute them above.", icon=":material/info:")


def by_block(sparsities: dict[str, float], profile: ModelProfile) -> list[BlockSparsity]:
    """In plain Python: grouping some hundred numbers with pandas takes longer than all else that a moved slider does."""
    blocks: list[list[ModuleInfo]] = [[] for _ in range(profile.blocks)]
    for module in profile.modules:
        blocks[module.block].append(module)
    found = []
    for modules in blocks:
        values = [sparsities[module.name] for module in modules]
        lost = sum(value * module.parameters for value, module in zip(values, modules, strict=True))
        found.append(BlockSparsity(lost / sum(module.parameters for module in modules), min(values), max(values)))
    return found


def _compare(found: dict[str, dict[str, float]], profile: ModelProfile, target: float) -> None:
    tables = {name: by_block(sparsities, profile) for name, sparsities in found.items()}
    words = [f"{n} from {min(t).mean:.1%} to {max(t).mean:.1%}" for n, t in tables.items()]
    plot.show(allocation_lines(tables, target), "studio_chart", alt=f"Sparsity of each block: {'; '.join(words)}.")
    st.caption(f"Blocks' sparsity: {'; '.join(words)}. Every mean is {target:.4g}, weighted by parameters.")


def _use(found: dict[str, dict[str, float]], configs: dict[str, RunConfig], profile: ModelProfile) -> None:
    measured = (name for name, config in configs.items() if config.allocation.measures)
    first = _FOUND if _FOUND in found else next(measured, next(iter(found)))
    name = st.segmented_control(
        "Take",
        list(found),
        default=first,
        required=True,
        key=f"studio_take {' '.join(found)}",  # another set of names is another choice, with its own default
        help="Which of them to use or save.",
    )
    sparsities, config = found[name], configs[name]
    with st.container(horizontal=True):
        if st.button("Use in Prune", type="primary", icon=":material/content_cut:"):
            plan.open_form(config)
        editor = st.popover("Edit by hand …", icon=":material/edit:", on_change="rerun", key="studio_edit")
        if editor.open:  # else a table would be made, and drawn, each time a slider moves
            with editor:
                _edit(sparsities, config, profile)
        st.download_button(
            "CSV", lambda: as_csv(sparsities, profile), "sparsities.csv", "text/csv",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        st.download_button(
            "JSON", lambda: as_json(sparsities), "sparsities.json", "application/json",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip


def _edit(sparsities: dict[str, float], config: RunConfig, profile: ModelProfile) -> None:
    """A table to change, or a file to load; both become the manual allocation."""
    uploaded = st.file_uploader("Load from CSV or JSON", ["csv", "json"], key="studio_file")
    start = {name: round(value, 6) for name, value in condensed(sparsities, profile).items()}
    if uploaded is not None:
        try:
            start = read_sparsities(uploaded.getvalue().decode("utf-8"))
        except (InputError, UnicodeDecodeError) as error:
            st.error(explain(error), icon=":material/error:")
            return
    edited = st.data_editor(
        pd.DataFrame({"of": list(start), "sparsity": list(start.values())}),
        hide_index=True,
        disabled=["of"],
        key=f"studio_table {hash(tuple(start.items()))}",  # edits belong to what they were made on
        column_config={
            "of": st.column_config.TextColumn("Block or module"),
            "sparsity": st.column_config.NumberColumn(
                "Sparsity", min_value=0.0, max_value=0.99, step=0.001, format="%.4f"
            ),
        },
    )
    st.caption(
        f"In Prune, all are scaled by one factor so that their mean, weighted by parameters, is {config.sparsity:.4g}."
    )
    if st.button("Use this in Prune", icon=":material/content_cut:", width="stretch"):
        values = dict(zip(edited.of, edited.sparsity, strict=True))
        try:
            by_hand = Manual(values=values)
            by_hand.sparsities(profile, config.sparsity)
        except (InputError, ValidationError) as error:
            st.error(explain(error), icon=":material/error:")
            return
        plan.open_form(config.model_copy(update={"allocation": by_hand}))
