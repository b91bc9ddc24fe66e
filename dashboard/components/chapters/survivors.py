"""Why updating the survivors matters: one mask, three ways to go on."""

from __future__ import annotations

import numpy as np
import streamlit as st

from core.config import RunConfig
from core.lessons.survivors import COLUMNS, ROWS, Update, errors_by_likeness, update
from core.methods.admm import ADMM
from core.stages.tuning import Tuning
from dashboard.components import plan, plot, shell, text
from dashboard.components.chapters.base import Chapter, Place, RealThing, draw, numbered, of, sparsity_slider
from dashboard.components.charts.lines import Line, lines
from dashboard.components.charts.matrix import Matrix

_WORDS = """
A mask says which weights go. It does not say what the others should do. **Left alone**, they answer as if nothing had
happened, and the output lacks what the pruned weights gave. But inputs are rarely independent: where $x_3$ usually moves with
$x_1$, a little more weight on $x_3$ gives back part of what a pruned weight on $x_1$ gave.

How much more, and on which inputs at once, is a **least-squares** question with one best answer for every row.
A sweep like SparseGPT's comes close: it walks from left to right and never returns to a column, so what is lost at the right
cannot be made up for at the left. **ADMM** lets all survivors of a row move together and ends at the best answer.

The best survivors for one matrix are not yet the best for the model: **block-wise tuning** goes on from there and trains
all survivors of a block, through attention and nonlinearities, to give what the dense block gave.
"""
_LIKENESS = tuple(step / 20 for step in range(20))


def _example(place: Place) -> None:
    with place.controls:
        likeness = st.slider(
            "How alike the inputs are",
            0.0,
            0.95,
            0.8,
            0.05,
            key="survivors_likeness",
            bind="query-params",
            help="Share of a signal that all inputs have in common, some with the opposite sign.",
        )
        sparsity = sparsity_slider(place.controls, "survivors")
    lesson = update(place.seed, likeness, sparsity)
    with place.charts:
        st.markdown(_told(lesson))
        _matrices(lesson)
        _curves(place.seed, likeness, sparsity)


def _told(lesson: Update) -> str:
    alone, swept, best = (text.percent(round(one.error, 3)) for one in lesson.each)
    return (
        f"One mask, {text.percent(float((~lesson.keep).mean()))} pruned. Output error with the survivors left alone **{alone}**, "
        f"after a sweep of columns **{swept}**, with the best survivors **{best}**."
    )


def _matrices(lesson: Update) -> None:
    outputs, inputs = numbered("y", ROWS), numbered("x", COLUMNS)
    reach = float(np.abs(lesson.weight).max())
    shown = (
        ("Left alone; × is pruned", lesson.left_alone.weight, "alone"),
        ("What the best survivors add to that", lesson.best.weight - lesson.left_alone.weight, "best"),
        ("What a sweep of columns adds", lesson.swept.weight - lesson.left_alone.weight, "swept"),
    )
    for title, values, key in shown:
        scale = reach if key == "alone" else reach / 4
        draw(title, Matrix(values, outputs, inputs, keep=lesson.keep, digits=2, reach=scale), f"survivors_{key}")


def _curves(seed: int, likeness: float, sparsity: float) -> None:
    names = ("left alone", "sweep of columns", "best (ADMM)")
    found = errors_by_likeness(seed, sparsity, _LIKENESS)
    figure = lines(
        [Line(name, _LIKENESS, [100 * error for error in errors]) for name, errors in zip(names, found, strict=True)],
        "How alike the inputs are",
        "Output error (%)",
        mark=likeness,
    )
    ends = ", ".join(f"{errors[-1]:.1%} {name}" for name, errors in zip(names, found, strict=True))
    plot.show(
        figure,
        "survivors_errors",
        alt=f"Output error over how alike the inputs are, with the same mask. All three begin at {found[0][0]:.1%}; at 0.95 they "
        f"are {ends}.",
    )
    st.caption(
        "Output error: |X(W − W′)ᵀ| ÷ |XWᵀ| on 64 random tokens, with the same mask throughout. The dotted line is where you are."
    )


CHAPTER = Chapter(
    name="survivors",
    short="9 Survivors",
    title="The survivors: the same mask, with and without an update",
    words=_WORDS,
    formulas=of(ADMM, Tuning),
    example=_example,
    attempt="Move *How alike the inputs are* from 0 to the right. At 0 nothing can be made up for, and all three lines meet. "
    "The more alike the inputs, the lower the best survivors come, with the very same zeros; look at the second matrix for who "
    "takes over.",
    question="The sweep finds the best step in every column. Why is its end not the best?",
    answer="Because a column is finished once the sweep has passed it. When a weight at the right is pruned, only columns "
    "further to the right may make up for it, though those at the left could have helped; and what they took over before was "
    "the best for what was known then. Solving for all survivors of a row together has no such order.",
    real=(
        RealThing(
            shell.PRUNE,
            "Prune the real model by ADMM",
            ":material/content_cut:",
            plan.address(RunConfig(method="admm", pattern="2:4")),
        ),
        RealThing(
            shell.PRUNE,
            "Wanda's mask with the best survivors, tuned block by block",
            ":material/tune:",
            plan.address(RunConfig(method="wanda", pattern="2:4", stages=("admm", "tuning"))),
        ),
    ),
)
