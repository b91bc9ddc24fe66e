"""Magnitude against Wanda, and why outlier features matter."""

from __future__ import annotations

import numpy as np
import streamlit as st

from core.config import RunConfig
from core.lessons.outliers import COLUMNS, ROWS, Outliers, outliers
from core.methods.magnitude import Magnitude
from core.methods.wanda import Wanda
from dashboard.components import plan, shell, text
from dashboard.components.chapters.base import Chapter, Place, RealThing, draw, numbered, of, sparsity_slider
from dashboard.components.charts.matrix import Frame, Matrix, Strip

_WORDS = """
A layer computes $y = W x$: each weight $W_{ij}$ carries input $x_j$ to output $y_i$. **Magnitude** pruning drops the
weights that are smallest. That is right only as long as all inputs are about equally large.

In a language model they are not: a few input features are tens of times larger than the rest, for almost every token
(*outlier features*). A small weight on such an input still moves the output a lot. **Wanda** therefore multiplies each
weight's size by the norm of its input, over some calibration text, and compares within each row, so that every output
keeps the same number of weights.
"""


def _example(place: Place) -> None:
    with place.controls:
        left, right = st.columns(2)
        loudness = left.slider(
            "Norm of the loud input",
            1.0,
            10.0,
            4.0,
            0.5,
            key="wanda_loudness",
            bind="query-params",
            help="All other inputs have norm 1.",
        )
        sparsity = sparsity_slider(right, "wanda")
        within = st.segmented_control(
            "Compare within",
            ["row", "matrix"],
            default="row",
            required=True,
            key="wanda_within",
            bind="query-params",
            help="Wanda's default is each row, magnitude's the whole matrix. Here both use the same: only the norms differ.",
        )
        lesson = outliers(place.seed, loudness, sparsity, "output" if within == "row" else "layer")
        st.markdown(_told(lesson, loudness))
    with place.charts:
        _charts(lesson)


def _told(lesson: Outliers, loudness: float) -> str:
    name = numbered("x", COLUMNS)[lesson.loud]
    kept = [int(one.keep[:, lesson.loud].sum()) for one in (lesson.magnitude, lesson.wanda)]
    parts = [
        f"On the loud input **{name}**, magnitude keeps {kept[0]} of {ROWS} weights, Wanda {kept[1]}. The output moves by "
        f"{text.percent(round(lesson.magnitude.error, 3))} under magnitude and "
        f"{text.percent(round(lesson.wanda.error, 3))} under Wanda."
    ]
    if loudness == 1:
        parts.append("All inputs are equally loud, so both scores are the same and so are the masks.")
    elif (row := _rescued(lesson)) is not None:
        weight = abs(lesson.weight[row, lesson.loud])
        cut = lesson.wanda.scores[row][~lesson.wanda.keep[row]].max()
        parts.append(
            f"In row {numbered('y', ROWS)[row]}, magnitude drops the {weight:.1f} there; Wanda's score is "
            f"{weight:.1f} × {lesson.norms[lesson.loud]:.1f} = {lesson.wanda.scores[row, lesson.loud]:.2f}, above the highest "
            f"that it prunes in that row ({cut:.2f})."
        )
    return " ".join(parts)


def _rescued(lesson: Outliers) -> int | None:
    """A row whose weight on the loud input only Wanda keeps: the one with the smallest such weight."""
    only = lesson.wanda.keep[:, lesson.loud] & ~lesson.magnitude.keep[:, lesson.loud]
    only &= ~lesson.wanda.keep.all(axis=1)
    if not only.any():
        return None
    return int(np.where(only, np.abs(lesson.weight[:, lesson.loud]), np.inf).argmin())


def _charts(lesson: Outliers) -> None:
    outputs, inputs = numbered("y", ROWS), numbered("x", COLUMNS)
    loud = (Frame((0, ROWS - 1), (lesson.loud, lesson.loud)),)
    draw(
        "Magnitude: the weights W, with × on what it prunes",
        Matrix(
            lesson.weight,
            outputs,
            inputs,
            keep=lesson.magnitude.keep,
            above=Strip("norm", lesson.norms),
            frames=loud,
        ),
        "wanda_magnitude",
    )
    draw(
        "Wanda: the scores |W| · norm, with × on what it prunes",
        Matrix(lesson.wanda.scores, outputs, inputs, keep=lesson.wanda.keep, signed=False, frames=loud),
        "wanda_scores",
    )
    st.caption(
        f"Framed: the loud input. Output error: |X(W − W′)ᵀ| ÷ |XWᵀ| on 64 random tokens. The weights are made up: 0.1 to "
        f"{ROWS * COLUMNS / 10:.1f} in random order, so that you can check every product."
    )


CHAPTER = Chapter(
    name="wanda",
    short="1 Wanda",
    title="Magnitude against Wanda: why outlier features matter",
    words=_WORDS,
    formulas=of(Magnitude, Wanda),
    example=_example,
    attempt="Set the norm of the loud input to 1 and move it up step by step. Look at the framed column: magnitude never "
    "changes its mind, while Wanda keeps more and more of that column, and the gap between the two output errors grows.",
    question="Two inputs have the same weights, but one is zero for every token of the calibration text. What does Wanda do "
    "with its weights, and what is the risk?",
    answer="Their scores are all 0, so they go first, and on the calibration text that costs nothing at all. The risk is a text "
    "in which that input does speak (another language, or code): the calibration text should look like what the model will "
    "read.",
    real=(
        RealThing(
            shell.PRUNE,
            "Prune the real model with Wanda",
            ":material/content_cut:",
            plan.address(RunConfig(method="wanda")),
        ),
        RealThing(
            shell.PRUNE,
            "… and with magnitude, to compare",
            ":material/content_cut:",
            plan.address(RunConfig(method="magnitude")),
        ),
        RealThing(shell.SCORES, "Both scores of every real weight, side by side", ":material/contrast:"),
    ),
)
