"""Which layers are heavy-tailed, and how much may each lose?"""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from core.config import RunConfig
from core.errors import InputError, explain
from core.measurements.spectra import Spectra
from core.models.sources import Embedded
from core.profile import ModelProfile
from core.store import Run
from dashboard.components import cache, grid, measuring, options, plot, state, studio
from dashboard.components.charts.grid import Quantity
from dashboard.components.charts.spectra import Spectrum, esd, panels
from dashboard.components.spectra_choice import FIT_TITLES, METRIC_TITLES, explained, quantity_of

_WHY = (
    "The spectrum of a weight matrix, the eigenvalues of WᵀW, tells how it was trained: a heavy tail (a low alpha) is taken as "
    "a sign of strong training, so such a layer should lose less. Each module's spectrum is computed once, in the background, "
    "and then known."
)


def render() -> None:
    st.title("Which layers are heavy-tailed?")
    try:
        selection = state.sidebar(_profile)
        profile = _profile(selection.run)
    except InputError as error:
        st.error(explain(error), icon=":material/error:")
        return
    cache.start_worker()
    config = selection.run.config if selection.run else RunConfig()
    revision = selection.run.identity.model_revision if selection.run else Embedded().revision_key()
    dense = Spectra(model=config.model, revision=revision)
    st.caption(f"{config.model.label} · {len(profile.modules)} modules in {profile.blocks} decoder blocks")
    if not dense.known(cache.store()):
        measuring.offer(dense, "Compute the spectra", _WHY)
    else:
        _spectra(dense, selection, profile)
    studio.show(config, profile)


def _profile(run: Run | None) -> ModelProfile:
    return cache.profile(run.config.model if run else Embedded())


def _spectra(dense: Spectra, selection: state.Selection, profile: ModelProfile) -> None:
    view, metric, fit = _options(selection.run)
    pruned = _pruned(selection.run) if view != "dense" else None
    table = cache.spectra_table(dense, fit)
    before, after = _with_metric(dense, metric, fit), _with_metric(pruned, metric, fit) if pruned else None
    view = view if after is not None else "dense"
    if before is not None:
        shown, quantity = _view(before, after, view, metric)
        grid.show(shown, quantity, selection, "spectra_grid", _caption(metric, view), profile.blocks, profile.labels)
    for note, modules in table[table.note != ""].groupby("note"):
        st.caption(f":material/info: {note} ({len(modules)} modules, such as {modules.module.iloc[0]})")
    _module(dense, pruned, selection, fit)
    _multiples(dense, selection, fit)
    st.download_button(
        "Table of spectra (CSV)",
        table.to_csv(index=False),
        "spectra.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


def _options(run: Run | None) -> tuple[str, str, str]:
    left, middle, right = st.columns([2, 2, 2])
    views = {"dense": "Dense", "pruned": "Pruned", "change": "Change"} if run and run.result else {"dense": "Dense"}
    with left:
        view = options.segments(
            "Weights",
            "weights",
            views,
            "dense",
            help="Before pruning, after it, or how far pruning moved the metric. Choose a finished run in the sidebar.",
        )
    with middle:
        metric = options.select(
            "Metric", "metric", METRIC_TITLES, "alpha", help="Under WeightWatcher's names in the table."
        )
    with right:
        fit = options.select(
            "Tail fit",
            "fit",
            FIT_TITLES,
            "peak",
            help="Where the tail begins: near the histogram's peak (AlphaPruning's choice; corrected: with the lower bound as it "
            "was meant), at the median, or wherever the KS distance is smallest.",
        )
    return view, metric, fit


def _pruned(run: Run | None) -> Spectra | None:
    """The run's spectra where they are known; else the offer to compute them."""
    if run is None or run.result is None:
        return None
    spectra = Spectra.of_run(run)
    if spectra.known(cache.store()):
        return spectra
    measuring.offer(
        spectra, "Compute the pruned spectra", "The spectra of this run's pruned weights are not known yet."
    )
    return None


def _with_metric(spectra: Spectra, metric: str, fit: str) -> pd.DataFrame | None:
    """The table of spectra; None where the metric needs the shuffled matrices', which are then offered."""
    table = cache.spectra_table(spectra, fit)
    if metric != "rand_distance":
        return table
    shuffled = spectra.shuffled
    if not shuffled.known(cache.store()):
        _offer_shuffled(shuffled)
        return None
    distances = cache.spectra_table(shuffled, fit)[["module", metric]]
    return table.drop(columns=metric).merge(distances, on="module")


def _offer_shuffled(shuffled: Spectra) -> None:
    measuring.offer(shuffled, "Compute the shuffled spectra", "The spectra of the shuffled matrices are not known yet.")


def _view(table: pd.DataFrame, after: pd.DataFrame | None, view: str, metric: str) -> tuple[pd.DataFrame, Quantity]:
    if after is None or view == "pruned":
        shown = table if after is None else after
        return shown, quantity_of(metric, shown[metric])
    joined = table.merge(after[["module", metric]], on="module", suffixes=("", "_after"))
    joined = joined.assign(change=joined[f"{metric}_after"] - joined[metric])
    return joined, quantity_of(metric, joined.change, change=True)


def _caption(metric: str, view: str) -> str:
    change = " Shown is the value after pruning less the dense one." if view == "change" else ""
    end = "The colours end where 2 % of the modules lie beyond. Click a cell to select the module on every page."
    return f"{explained(metric)}{change} {end}"


def _module(dense: Spectra, pruned: Spectra | None, selection: state.Selection, fit: str) -> None:
    one = _spectrum(dense, selection, fit)
    if one is None:
        return
    after = _spectrum(pruned, selection, fit) if pruned else None
    name = str(one.row.module)
    st.subheader(name)
    if not len(one.positive):
        st.info(one.row.note, icon=":material/info:")
        return
    shuffled = _shuffled(dense, name)
    plot.show(partial(esd, one, after, shuffled), "esd", alt=_alt(one))
    st.caption(" · ".join(_facts(one)))
    if after is not None:
        st.caption("Pruned: " + " · ".join(_facts(after)))
    if one.has_tail:
        _comparisons(dense, name, fit)


def _spectrum(spectra: Spectra, selection: state.Selection, fit: str) -> Spectrum | None:
    table = cache.spectra_table(spectra, fit)
    chosen = table[(table.block == selection.block) & (table.label == selection.label)]
    if chosen.empty:
        return None
    row = chosen.iloc[0]
    return Spectrum(cache.eigenvalues(spectra)[row.module], row)


def _shuffled(dense: Spectra, module: str) -> np.ndarray | None:
    """The eigenvalues of the module with its entries permuted, where they are wanted and known."""
    wanted = st.toggle(
        "Compare with shuffled entries",
        key="shuffled",
        bind="query-params",
        help="The same numbers in random order: what of the spectrum is structure, and what is chance.",
    )
    if not wanted:
        return None
    shuffled = dense.shuffled
    if shuffled.known(cache.store()):
        return cache.eigenvalues(shuffled)[module]
    if st.session_state.metric != "rand_distance":  # whose offer stands above already
        _offer_shuffled(shuffled)
    return None


def _facts(one: Spectrum) -> list[str]:
    row = one.row
    facts = [f"{row.rows:,} × {row.columns:,}, {row['rank']:,} of {row.eigenvalues:,} eigenvalues above zero"]
    if one.has_tail:
        facts += [
            f"**alpha {row.alpha:.3f} ± {row.alpha_error:.3f}** (standard error)",
            f"KS distance D {row.D:.3f}",
            f"λ_min {row.xmin:.4g}, {row.tail_size:.0f} eigenvalues in the tail",
        ]
    facts.append(f"stable rank {row.stable_rank:.4g}")
    return [*facts, row.note] if row.note else facts


def _alt(one: Spectrum) -> str:
    row, values = one.row, one.positive
    tail = f" The fitted tail begins at {row.xmin:.3g} with alpha {row.alpha:.2f}." if one.has_tail else ""
    return f"Log-log histogram of {len(values)} eigenvalues from {values[0]:.3g} to {values[-1]:.3g}.{tail}"


def _comparisons(dense: Spectra, module: str, fit: str) -> None:
    if not st.toggle(
        "Is it a power law at all?",
        key="laws",
        bind="query-params",
        help="Likelihood ratios of the fitted tail against other laws (Clauset et al., arXiv 0706.1062).",
    ):
        return
    found = cache.tail_comparisons(dense.canonical(), module, fit)
    rows = [{"against": one.alternative, "R": one.ratio, "p": one.p, "verdict": one.verdict} for one in found]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        column_config={
            "against": "Against",
            "R": st.column_config.NumberColumn(
                "R", format="%.2f", help="Normalised log-likelihood ratio: above 0 favours the power law."
            ),
            "p": st.column_config.NumberColumn(
                "p", format="%.3f", help="Chance of a ratio as large if both fit as well."
            ),
            "verdict": "Verdict",
        },
    )


def _multiples(dense: Spectra, selection: state.Selection, fit: str) -> None:
    if selection.block is None or selection.label is None:
        return
    st.subheader("Side by side")
    titles = {"block": f"Block {selection.block}", "depth": f"{selection.label} over depth"}
    along = options.segments("Show", "along", titles, "block")
    table, values = cache.spectra_table(dense, fit), cache.eigenvalues(dense)
    rows = table[table.block == selection.block] if along == "block" else table[table.label == selection.label]
    named = [
        (str(row.label) if along == "block" else f"block {row.block}", Spectrum(values[str(row.module)], row))
        for _, row in rows.iterrows()
    ]
    chosen = selection.label if along == "block" else f"block {selection.block}"
    plot.show(
        partial(panels, named, chosen),
        "panels",
        alt=f"Spectra of {len(named)} modules on common axes, with alpha in each title.",
    )
    st.caption(
        "All on the same axes: eigenvalue to the right, density upwards, both logarithmic; the line is the fitted tail."
    )


render()
