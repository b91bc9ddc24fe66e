"""When low rank pays."""

from __future__ import annotations

import streamlit as st

from core.config import RunConfig
from core.lessons.rank import Ranks, ranks
from core.stages.low_rank import LowRank
from dashboard.components import plan, plot, shell, text
from dashboard.components.chapters.base import Chapter, Place, RealThing, draw, numbered, of
from dashboard.components.charts.bars import kept_bars
from dashboard.components.charts.lines import Line, lines
from dashboard.components.charts.matrix import Matrix

_WORDS = """
A matrix can be made smaller without a single zero: as the **product of two thinner ones**. The singular value
decomposition writes $W$ as a sum of layers, the strongest first; keeping the first $r$ of them is the best that rank $r$
can do. If the singular values fall off quickly, little is lost.

But the two factors must be stored as well: $r \\cdot (\\text{out} + \\text{in})$ numbers in the place of
$\\text{out} \\cdot \\text{in}$. **It pays only where $r < \\frac{\\text{out} \\cdot \\text{in}}{\\text{out} + \\text{in}}$.**
On a square matrix, half the rank already saves nothing. A sparse matrix with as many weights is the rival to beat.
"""
_SHAPES = {"6 × 6": (6, 6), "4 × 9": (4, 9)}


def _example(place: Place) -> None:
    with place.controls:
        left, right = st.columns(2)
        name = left.segmented_control(
            "Matrix", list(_SHAPES), default="6 × 6", required=True, key="rank_shape", bind="query-params"
        )
        decay = right.slider(
            "Each singular value is … of the one before", 0.2, 1.0, 0.6, 0.05, key="rank_decay", bind="query-params"
        )
        shape = _SHAPES[str(name)]
        rank = st.slider("Rank r", 1, min(shape), 2, key=f"rank_of_{min(shape)}", bind="query-params")
        lesson = ranks(place.seed, shape, decay, rank)
        st.markdown(_told(lesson, rank))
    with place.charts:
        _charts(lesson, rank)


def _told(lesson: Ranks, rank: int) -> str:
    rows, columns = lesson.weight.shape
    one, size = lesson.ranks[rank - 1], lesson.weight.size
    change = one.parameters - size
    verdict = f"{-change} fewer" if change < 0 else "no fewer" if change == 0 else f"**{change} more**"
    told = (
        f"Rank {rank} stores {rank} · ({rows} + {columns}) = **{one.parameters}** weights in the place of {rows} · {columns} = "
        f"{size}: {verdict}. It pays below r = {lesson.break_even:.2f}. The product holds {text.percent(round(one.energy, 3))} of "
        f"Σ s², and is {text.percent(round(one.error, 3))} off (|W − W′| ÷ |W|)."
    )
    if one.sparse_error is None:
        return told
    better = "less" if one.sparse_error < one.error else "more"
    return (
        f"{told} Keeping the {one.parameters} largest weights and no others is {text.percent(round(one.sparse_error, 3))} off: "
        f"{better} than the product."
    )


def _charts(lesson: Ranks, rank: int) -> None:
    rows, columns = (numbered(letter, count) for letter, count in zip("yx", lesson.weight.shape, strict=True))
    between = numbered("r", rank)
    st.markdown("**Singular values**")
    plot.show(
        kept_bars(lesson.singular.tolist(), rank, "Number", "Singular value", ("kept", "dropped")),
        "rank_singular",
        alt=f"Singular values {', '.join(f'{value:.2f}' for value in lesson.singular)}; the first {rank} are kept.",
    )
    reach = float(abs(lesson.weight).max())
    left, right = st.columns(2)
    with left:
        draw("W", Matrix(lesson.weight, rows, columns, reach=reach), "rank_weight")
        draw("Left factor U√S", Matrix(lesson.left, rows, between, reach=reach), "rank_left")
    with right:
        draw("W′, the product of both factors", Matrix(lesson.product, rows, columns, reach=reach), "rank_product")
        draw("Right factor √S V", Matrix(lesson.right, between, columns, reach=reach), "rank_right")
    _rivals(lesson, rank)


def _rivals(lesson: Ranks, rank: int) -> None:
    stored = [one.parameters for one in lesson.ranks]
    product = Line("low rank", stored, [100 * one.error for one in lesson.ranks])
    sparse = [one for one in lesson.ranks if one.sparse_error is not None]
    rival = Line(
        "sparse, largest weights", [one.parameters for one in sparse], [100 * (one.sparse_error or 0) for one in sparse]
    )
    st.markdown("**Error for what is stored**")
    plot.show(
        lines([product, rival], "Weights stored", "Error |W − W′| ÷ |W| (%)", mark=lesson.weight.size),
        "rank_rivals",
        alt=f"Error over weights stored; rank {rank} stores {stored[rank - 1]} and is {lesson.ranks[rank - 1].error:.1%} off.",
    )
    st.caption(
        f"The dotted line is the whole matrix, {lesson.weight.size} weights: to its right, low rank stores more than it replaces. "
        "Not counted: a sparse matrix must also say where its weights stand (about a bit for each place)."
    )


CHAPTER = Chapter(
    name="rank",
    short="7 Low rank",
    title="When low rank pays",
    words=_WORDS,
    formulas=of(LowRank),
    example=_example,
    attempt="Take the 6 × 6 matrix and move the rank up: at 3 the factors already have as many weights as the matrix. Then let the "
    "singular values fall off more quickly (0.3) and more slowly (1.0): only a steep fall lets low rank beat the sparse rival.",
    question="Language models' weight matrices have singular values that fall off slowly. What does that say about low rank as a "
    "way to halve them?",
    answer="Halving a square matrix means a rank of a quarter of its width. If the first quarter of the singular values "
    "holds little more than a quarter of Σ s², most of the matrix is gone, and zeroing the smaller half of the weights "
    "usually costs less. Look at *Side by side* on the Spectra page for how slowly they fall.",
    real=(
        RealThing(
            shell.PRUNE,
            "Try low rank alone on the real model",
            ":material/content_cut:",
            plan.address(RunConfig(method="magnitude", sparsity=0.0, stages=("low_rank",))),
        ),
        RealThing(shell.SPECTRA, "The real model's spectra", ":material/ssid_chart:"),
    ),
)
