"""SparseGPT, one column at a time."""

from __future__ import annotations

import numpy as np
import streamlit as st

from core.config import RunConfig
from core.lessons.compensation import COLUMNS, ROWS, Compensation, compensation
from core.methods.sparsegpt import SparseGPT
from core.patterns import Pattern, Unstructured
from dashboard.components import plan, plot, shell, stepper, text
from dashboard.components.chapters.base import Chapter, Place, RealThing, draw, numbered, of
from dashboard.components.charts.lines import Line, lines
from dashboard.components.charts.matrix import Frame, Matrix, Strip, plainly

_WORDS = """
Magnitude and Wanda leave the surviving weights as they are. **SparseGPT** lets them make up for what is missing. It goes
through the columns from left to right. In each it zeroes the chosen weights and then changes the columns **to the right**
so that the layer's output stays as close as it can to what it was; columns to the left are finished.

How much a column can take over depends on how alike the inputs are: if $x_3$ usually moves with $x_1$, then more weight
on $x_3$ makes up for a pruned weight on $x_1$. The Gram matrix $X^\\top X$ holds all these likenesses, and $U$, a factor
of its inverse, turns them into the shares that flow to the right. Inputs that have nothing in common cannot help each
other. Which weights go is decided on the way too, from the weights **as already changed**.
"""

_NOTHING = 1e-4
"""Less is rounding."""


def _example(place: Place) -> None:
    with place.controls:
        left, right = st.columns(2)
        with left:
            likeness = st.slider(
                "How alike the inputs are",
                0.0,
                0.95,
                0.8,
                0.05,
                key="sparsegpt_likeness",
                bind="query-params",
                help="Share of a signal that all inputs have in common, some with the opposite sign.",
            )
        with right:
            name = st.segmented_control(
                "Pattern", ["2:4", "50 %"], default="2:4", required=True, key="sparsegpt_pattern", bind="query-params"
            )
        pattern = Pattern.parse("2:4") if name == "2:4" else Unstructured()
        lesson = compensation(place.seed, likeness, pattern, 0.5)
    with place.charts:
        stepper.show("sparsegpt_column", COLUMNS, "Columns done", lambda step: _draw(lesson, step))


def _draw(lesson: Compensation, step: int) -> None:
    st.markdown(_told(lesson, step))
    outputs, inputs = numbered("y", ROWS), numbered("x", COLUMNS)
    reach = float(np.abs(lesson.weight).max())
    weight, pruned, waiting = _state(lesson, step)
    draw(
        "The weights; × is pruned, one stroke is chosen and waits",
        Matrix(
            weight,
            outputs,
            inputs,
            keep=~pruned,
            waiting=waiting,
            digits=2,
            reach=reach,
            above=Strip("Uⱼⱼ", lesson.pivots),
            frames=[Frame((0, ROWS - 1), (step - 1, step - 1))] if step else [],
        ),
        "sparsegpt_weights",
    )
    passed = lesson.steps[step - 1].passed_on.numpy() if step else np.zeros_like(lesson.weight)
    draw(
        f"What {inputs[step - 1]} passed on to the right" if step else "What a column passes on to the right",
        Matrix(
            passed,
            outputs,
            inputs,
            digits=2,
            reach=reach / 4,
            frames=[Frame((0, ROWS - 1), (step - 1, step - 1))] if step else [],
            flow=step - 1 if 0 < step < COLUMNS else None,
        ),
        "sparsegpt_passed",
    )
    _errors(lesson, step)


def _state(lesson: Compensation, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weights after ``step`` columns, what is pruned, and what is chosen but not reached."""
    if step == 0:
        none = np.zeros(lesson.weight.shape, dtype=bool)
        return lesson.weight, none, none
    now = lesson.steps[step - 1]
    gone, done = ~now.keep.numpy(), np.arange(COLUMNS) < step
    return now.weight.numpy(), gone & done, gone & ~done


def _told(lesson: Compensation, step: int) -> str:
    if step == 0:
        return "Nothing is done yet: these are the dense weights. Press *Step*."
    name, now = numbered("x", COLUMNS)[step - 1], lesson.steps[step - 1]
    error = now.error.numpy()
    before = lesson.weight if step == 1 else lesson.steps[step - 2].weight.numpy()
    told = (
        f"**{name}** is done: {int((~now.keep[:, step - 1]).sum())} of {ROWS} weights pruned. Output error so far "
        f"{text.percent(round(lesson.errors[step], 3))}; without passing anything on it would be "
        f"{text.percent(round(lesson.uncompensated[step], 3))}."
    )
    if not error.any():
        return f"{told} No weight of this column was pruned, so nothing flows."
    row = int(np.abs(error).argmax())
    divided = (
        f"In row {numbered('y', ROWS)[row]}, the error is {plainly(before[row, step - 1], 2)} ÷ "
        f"{lesson.pivots[step - 1]:.2f} = {plainly(error[row], 2)}."
    )
    if step == COLUMNS:
        return f"{told} {divided} Nothing is to its right, so it stays."
    if np.abs(now.passed_on.numpy()).max() < _NOTHING:
        return f"{told} {divided} Yet nothing flows: the inputs have nothing in common, so U is 0 to the right."
    return f"{told} {divided} It goes to the right: each column gets −U of its own times this."


def _errors(lesson: Compensation, step: int) -> None:
    columns = list(range(COLUMNS + 1))
    figure = lines(
        [
            Line("same mask, nothing passed on", columns, [100 * error for error in lesson.uncompensated]),
            Line("SparseGPT", columns, [100 * error for error in lesson.errors]),
        ],
        "Columns done",
        "Output error (%)",
        mark=step,
    )
    plot.show(
        figure,
        "sparsegpt_errors",
        alt=f"Output error over the columns done. At the end {lesson.errors[-1]:.1%} with SparseGPT, "
        f"{lesson.uncompensated[-1]:.1%} with the same mask and nothing passed on.",
    )
    st.caption("Output error: |X(W − W′)ᵀ| ÷ |XWᵀ| on 64 random tokens. The dotted line is where you are.")


CHAPTER = Chapter(
    name="sparsegpt",
    short="4 SparseGPT",
    title="SparseGPT: the others make up for it",
    words=_WORDS,
    formulas=of(SparseGPT),
    example=_example,
    attempt="Step through the columns and look at the lower matrix: each pruned weight's error flows to the columns on its "
    "right, most to the inputs most like it, and nothing to the left. Then set *How alike the inputs are* to 0: nothing flows, "
    "and both error lines are one.",
    question="The last column has nothing to its right. What becomes of its error?",
    answer="It stays: nobody is left to make up for it. The fewer columns remain, the smaller is Uⱼⱼ, and dividing by it makes "
    "the same weight cost more the further to the right it stands. GPTQ, which works in the same way, can therefore take the "
    "columns with the loudest inputs first.",
    real=(
        RealThing(
            shell.PRUNE,
            "Prune the real model with SparseGPT",
            ":material/content_cut:",
            plan.address(RunConfig(method="sparsegpt", pattern="2:4")),
        ),
    ),
)
