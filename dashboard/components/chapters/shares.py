"""RIA's and ClearCut's relative importance."""

from __future__ import annotations

import streamlit as st

from core.config import RunConfig
from core.lessons.shares import COLUMNS, ROWS, Shares, shares
from core.methods.base import ScoreMethod
from core.methods.clearcut import ClearCut
from core.methods.ria import RI, RIA
from dashboard.components import plan, shell, text
from dashboard.components.chapters.base import Chapter, Place, RealThing, draw, numbered, of, sparsity_slider
from dashboard.components.charts.matrix import Frame, Matrix, Strip

_WORDS = """
Magnitude compares all weights of a matrix with each other. An input whose weights are all small then loses **every**
weight, and with them everything it had to say (*channel corruption*). Yet small weights may only mean large inputs:
multiply an input by ten, divide its weights by ten, and the layer computes exactly what it did.

**Relative importance** (RI) asks instead: how large is this weight among those of its own input (its column), and among
those of its own output (its row)? Both shares are added. However small a column is as a whole, its shares still add up
to 1. **RIA** multiplies by the input's norm to the power $p$: below 1, so that a few very loud inputs do not decide
everything. **ClearCut** adds a third term, the product of both shares, and compares within each row.
"""


def _example(place: Place) -> None:
    with place.controls:
        method = _method()
        left, right = st.columns(2)
        scale = left.slider(
            "Multiply one input, divide its weights by",
            1.0,
            20.0,
            4.0,
            0.5,
            key="shares_scale",
            bind="query-params",
            help="The dense layer computes the same at every value.",
        )
        sparsity = sparsity_slider(right, "shares")
        lesson = shares(place.seed, method, scale, sparsity)
        st.markdown(_told(lesson, method))
    with place.charts:
        _charts(lesson, method)


def _method() -> ScoreMethod:
    name = st.segmented_control(
        "Method", ["RI", "RIA", "ClearCut"], default="RIA", required=True, key="shares_method", bind="query-params"
    )
    if name == "RI":
        return RI()
    power = st.slider(
        "Power p of the norms",
        0.0,
        1.0,
        0.5,
        0.1,
        key="shares_power",
        bind="query-params",
        help="0: they do not count.",
    )
    if name == "RIA":
        return RIA(power=power)
    weight = st.slider(
        "Weight λ of the product",
        0.0,
        10.0,
        0.1,
        0.1,
        key="shares_product",
        bind="query-params",
        help="0.1 is the program's.",
    )
    return ClearCut(power=power, interaction=weight)


def _told(lesson: Shares, method: ScoreMethod) -> str:
    name = numbered("x", COLUMNS)[lesson.rescaled]
    kept = [int(one.keep[:, lesson.rescaled].sum()) for one in (lesson.magnitude, lesson.relative)]
    return (
        f"Of the rescaled input **{name}**, magnitude keeps {kept[0]} of {ROWS} weights, {method.title} {kept[1]}. "
        f"{_worked(lesson, method)} The output moves by {text.percent(round(lesson.magnitude.error, 3))} under magnitude and "
        f"by {text.percent(round(lesson.relative.error, 3))} under {method.title}."
    )


def _worked(lesson: Shares, method: ScoreMethod) -> str:
    """The score of the rescaled input's highest-scoring weight, in numbers that stand in the matrix."""
    column = lesson.rescaled
    row = int(lesson.relative.scores[:, column].argmax())
    weight = abs(float(lesson.weight[row, column]))
    by_column, by_row = (f"{weight:.2f} ÷ {total:.2f}" for total in (lesson.column_sums[column], lesson.row_sums[row]))
    product = f" + {method.interaction:g} × ({by_column}) × ({by_row})" if isinstance(method, ClearCut) else ""
    norm = f" × {lesson.norms[column]:.1f}^{method.power:g}" if isinstance(method, RIA | ClearCut) else ""
    total = f"{by_column} + {by_row}{product}"
    return (
        f"Its highest score, in row {numbered('y', ROWS)[row]}: {f'({total})' if norm else total}{norm} = "
        f"{lesson.relative.scores[row, column]:.2f}, {'kept' if lesson.relative.keep[row, column] else 'pruned'}."
    )


def _charts(lesson: Shares, method: ScoreMethod) -> None:
    outputs, inputs = numbered("y", ROWS), numbered("x", COLUMNS)
    rescaled = (Frame((0, ROWS - 1), (lesson.rescaled, lesson.rescaled)),)
    draw(
        "Magnitude: the weights W with the sums of |W|, and × on what it prunes",
        Matrix(
            lesson.weight,
            outputs,
            inputs,
            keep=lesson.magnitude.keep,
            digits=2,
            above=Strip("Σ", lesson.column_sums),
            beside=Strip("Σ", lesson.row_sums),
            frames=rescaled,
        ),
        "shares_magnitude",
    )
    draw(
        f"{method.title}: the scores, with × on what it prunes",
        Matrix(
            lesson.relative.scores,
            outputs,
            inputs,
            keep=lesson.relative.keep,
            digits=2,
            signed=False,
            above=Strip("norm", lesson.norms),
            beside=Strip("kept", lesson.relative.keep.sum(axis=1), 0),
            frames=rescaled,
        ),
        "shares_scores",
    )
    within = {"layer": "over the whole matrix", "output": "within each row"}[method.group]
    st.caption(
        f"Framed: the rescaled input. Magnitude compares over the whole matrix, {method.title} {within}, as by default on a real "
        "model. Output error: |X(W − W′)ᵀ| ÷ |XWᵀ| on 64 random tokens."
    )


CHAPTER = Chapter(
    name="shares",
    short="2 RIA, ClearCut",
    title="RIA and ClearCut: important to whom?",
    words=_WORDS,
    formulas=of(RIA, ClearCut),
    example=_example,
    attempt="Rescale the framed input more and more. Look at the framed columns: magnitude soon keeps none of them and its output "
    "error jumps, although the layer is the same. In the scores below, each weight's share of its own column stays as it is. "
    "Then move p from 0 (RI) to 1 and see how much the louder input makes up for the smaller weights.",
    question="With RI, why does dividing a column by 20 lower its scores a little after all, although the shares of the column do "
    "not change?",
    answer="The other half of the score is the share of the **row**: there the weight now competes with seven others that did "
    "not shrink, so that half goes towards 0. What remains is the share of the column, which no scale can take away.",
    real=(
        RealThing(
            shell.PRUNE,
            "Prune the real model with RIA",
            ":material/content_cut:",
            plan.address(RunConfig(method="ria")),
        ),
        RealThing(shell.PRUNE, "… with ClearCut", ":material/content_cut:", plan.address(RunConfig(method="clearcut"))),
    ),
)
