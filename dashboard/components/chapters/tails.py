"""Heavy tails: Hill's estimate, and the allocation that follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import streamlit as st

from core.allocation.alpha_pruning import AlphaPruning
from core.config import RunConfig
from core.errors import InputError, explain
from core.lessons.tails import HillCurve, allocation_of, alphas_at, fitted_alphas, hill_curve, made_up_model
from core.measurements.spectra import Spectra
from core.models.sources import Embedded
from core.profile import ModelProfile, ModuleInfo
from core.spectra.hill import Tail
from dashboard.components import cache, measuring, plan, plot, shell, studio
from dashboard.components.chapters.base import Chapter, Place, RealThing, of
from dashboard.components.charts.allocation import allocation_lines
from dashboard.components.charts.hill import hill_plot
from dashboard.components.charts.spectra import Spectrum, esd
from dashboard.components.spectra_choice import FIT_TITLES

_WORDS = """
Take a weight matrix and look at the eigenvalues of $W^\\top W$, its *spectrum*. Random numbers give a bulk with a sharp
end. Training stretches the upper end into a **tail**: few eigenvalues, but far out. Where the tail falls off like a power
law $\\lambda^{-\\alpha}$, a **low α means a heavy tail**, which is taken as a sign of much that was learned.
**AlphaPruning** lets such layers lose less.

**Hill's estimate** reads α off the tail's eigenvalues: the further their logarithms lie above that of the threshold
$\\lambda_{\\min}$, on average, the lower is α. It needs to be told where the tail begins, and the answer depends on it:
move the threshold and see.
"""


@dataclass(frozen=True)
class _Source:
    """Spectra to look at: of which model, by module name."""

    told: str
    profile: ModelProfile
    spectra: Mapping[str, np.ndarray]
    module: ModuleInfo
    fitted: Mapping[str, float | None]
    """Alpha of every module by the peak fit."""


def _example(place: Place) -> None:
    with place.controls:
        source = _source(place)
        share = st.slider(
            "Share of the eigenvalues in the tail",
            0.02,
            1.0,
            0.25,
            0.01,
            format="percent",
            key="tails_share",
            bind="query-params",
        )
        left, right = st.columns(2)
        epsilon = left.slider(
            "Spread ε of the allocation", 0.0, 0.9, 0.3, 0.05, key="tails_epsilon", bind="query-params"
        )
        target = right.slider(
            "Sparsity of the model", 0.3, 0.8, 0.7, 0.05, format="percent", key="tails_target", bind="query-params"
        )
        try:
            curve = hill_curve(source.spectra[source.module.name], source.module.shape)
        except InputError as error:
            st.info(f"{source.module.name}: {explain(error)} Choose another module.", icon=":material/info:")
            return
        tail = curve.tail(share)
        st.markdown(_told(source, curve, tail))
    with place.charts:
        _charts(source, curve, tail)
        _allocation(source, share, epsilon, target)


def _source(place: Place) -> _Source:
    """The real spectra where they are known, of the module that is selected; else made-up ones, and the offer."""
    run = place.selection.run
    model = run.config.model if run else Embedded()
    dense = Spectra(model=model, revision=run.identity.model_revision if run else Embedded().revision_key())
    if dense.known(cache.store()):
        profile = cache.profile(model)
        wanted = (place.selection.block, place.selection.label)
        module = next((one for one in profile.modules if (one.block, one.label) == wanted), profile.modules[0])
        table = cache.spectra_table(dense, "peak")
        fitted = dict(zip(table.module, table.alpha.where(table.alpha.notna(), None), strict=True))
        return _Source(model.label, profile, cache.eigenvalues(dense), module, fitted)
    profile, spectra = made_up_model(place.seed)
    block = st.slider("Block", 0, profile.blocks - 1, 3, key="tails_block", bind="query-params")
    with st.expander("These spectra are made up. Use those of the real model …"):
        measuring.offer(
            dense,
            "Compute the spectra",
            f"The spectra of {model.label} are not known yet. They are computed once, in the background, and then shown here.",
            "learn",
        )
    return _Source(
        "made up: random rows of falling strength", profile, spectra, profile.modules[block], fitted_alphas(spectra)
    )


def _told(source: _Source, curve: HillCurve, tail: Tail) -> str:
    if not 1 < tail.alpha < math.inf:
        return "All eigenvalues of this tail are the same, so it has no α."
    total = tail.size / (tail.alpha - 1)
    return (
        f"**{source.module.name}** ({source.told}). The {tail.size} largest of {len(curve.values)} eigenvalues lie above "
        f"λ_min = {tail.xmin:.3g}; their logarithms lie {total:.2f} above its own in all, so **α = 1 + {tail.size} ÷ {total:.2f} "
        f"= {tail.alpha:.2f}** ± {tail.standard_error:.2f}. The fitted tail is at most D = {tail.distance:.3f} from the "
        "real one (KS distance; 0 is a perfect fit)."
    )


def _charts(source: _Source, curve: HillCurve, tail: Tail) -> None:
    rows, columns = source.module.shape
    low, high = curve.bulk
    row = pd.Series(
        {
            "alpha": tail.alpha, "xmin": tail.xmin, "tail_size": tail.size, "rows": rows, "columns": columns,
            "bulk_low": low, "bulk_high": high,
        }
    )  # fmt: skip
    st.markdown("**The spectrum, with the tail that begins at the threshold**")
    plot.show(
        esd(Spectrum(curve.values, row)),
        "tails_esd",
        alt=f"Log-log histogram of {len(curve.values)} eigenvalues of {source.module.name}; the tail from {tail.xmin:.3g} on has "
        f"alpha {tail.alpha:.2f}.",
    )
    st.markdown("**Hill's estimate for every threshold**")
    count = len(curve.values)
    shares = [(count - start) / count for start in range(count - 1)]
    fits = {FIT_TITLES[name]: fit for name, fit in curve.fits.items()}
    plot.show(
        hill_plot(shares, curve.alphas.tolist(), fits, count, tail.size / count),
        "tails_hill",
        alt="Alpha over the share of eigenvalues in the tail; fits: "
        + ", ".join(f"{name} {fit.alpha:.2f}" for name, fit in fits.items()),
    )
    st.caption("Marks: where the fits of the Spectra page let the tail begin. AlphaPruning uses *Peak*.")


def _allocation(source: _Source, share: float, epsilon: float, target: float) -> None:
    by_threshold = alphas_at(source.spectra, share)
    lines = {}
    for name, alphas in (("this threshold", by_threshold), ("peak fit", source.fitted)):
        try:
            lines[name] = studio.by_block(allocation_of(source.profile, alphas, epsilon, target), source.profile)
        except InputError as error:
            st.info(f"{name}: {explain(error)}", icon=":material/info:")
    if not lines:
        return
    st.markdown("**What each block loses: AlphaPruning with these alphas**")
    words = [f"{name}: from {min(t).mean:.1%} to {max(t).mean:.1%}" for name, t in lines.items()]
    plot.show(allocation_lines(lines, target), "tails_allocation", alt=f"Sparsity of each block. {'; '.join(words)}.")
    st.caption(
        f"Each block's mean alpha, mapped to 1 − ε … 1 + ε and scaled so that the whole loses {target:.0%}. With this share of "
        "the eigenvalues taken as tail in every module, and with the fit that AlphaPruning uses."
    )


CHAPTER = Chapter(
    name="tails",
    short="5 Heavy tails",
    title="Heavy tails: Hill's estimate, and who may lose more",
    words=_WORDS,
    formulas=of(AlphaPruning),
    example=_example,
    attempt="Slide the threshold from a tail of 10 % to one of all eigenvalues. Look at the middle chart: α falls as bulk is "
    "taken for tail. Then look at the lowest chart: the blocks' order can change with it, and so does what each may lose. With "
    "ε = 0 every block loses the same.",
    question="Why not simply take the threshold at which α is most certain, the one with the most eigenvalues in the tail?",
    answer="The standard error (α − 1) ÷ √n only says how far chance moves α **if** the law holds. With the whole spectrum as "
    "tail the error is small and the law does not hold: D is large. The fits look for a threshold where D is small.",
    real=(
        RealThing(shell.SPECTRA, "The spectra of the real model", ":material/ssid_chart:"),
        RealThing(
            shell.PRUNE,
            "Prune it with AlphaPruning",
            ":material/content_cut:",
            plan.address(RunConfig(allocation={"allocation": "alpha_pruning"}, sparsity=0.7)),
        ),
    ),
)
