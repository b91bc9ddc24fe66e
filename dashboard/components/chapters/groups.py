"""N:M, and what the order of the channels has to do with it."""

from __future__ import annotations

import streamlit as st

from core.config import RunConfig
from core.lessons.groups import COLUMNS, ROWS, Reallocated, reallocated
from core.patterns import NM, Pattern
from core.stages.reallocation import Reallocation
from dashboard.components import plan, plot, shell, text
from dashboard.components.chapters.base import Chapter, Place, RealThing, draw, numbered, of
from dashboard.components.charts.matrix import OTHER, Frame, Matrix
from dashboard.components.charts.permutation import permutation_lines

_WORDS = """
Graphics cards can skip zeros only where these follow a pattern. **N:M** is one: of every M consecutive inputs of a row,
the N best weights survive (2:4 means two of four). The price: strong weights that stand in one group compete with each
other, while weak ones in another group survive because they must.

The order of the inputs is arbitrary, though. **Channel reallocation** deals them out anew, as in a card game: inputs are
ranked by the sum of their scores and dealt to the groups in a snake, so that every group gets strong and weak ones.
**LSA** then refines the order: place by place, it solves the assignment problem of which channel should go to which
group. The total score that survives (the *retained score*) can only rise.
"""


def _example(place: Place) -> None:
    with place.controls:
        name = st.segmented_control(
            "Pattern", ["2:4", "1:4", "1:2"], default="2:4", required=True, key="groups_pattern", bind="query-params"
        )
        pattern = Pattern.parse(str(name))
        assert isinstance(pattern, NM)
        loudness = st.slider(
            f"Norm of the first {pattern.m} inputs",
            1.0,
            8.0,
            4.0,
            0.5,
            key="groups_loudness",
            bind="query-params",
            help="They make up the first group. All others have norm 1.",
        )
        lsa = st.toggle("Refine by LSA", key="groups_lsa", bind="query-params")
        lesson = reallocated(place.seed, loudness, pattern, lsa)
        _figures(lesson)
    with place.charts:
        _charts(lesson, pattern)


def _figures(lesson: Reallocated) -> None:
    total = float(lesson.scores.sum())
    with st.container(horizontal=True):
        for label, value, told in (
            ("Retained, as they stand", lesson.retained_plain, "The total of Wanda's scores that N:M keeps."),
            ("Retained, reallocated", lesson.retained, "The same in the new order."),
            ("Without a pattern", lesson.retained_free, "Each row keeps as many of its best, wherever they stand."),
        ):
            st.metric(label, f"{value:.1f}", help=f"{told} All scores together: {total:.1f}.", width="content")
    gap = lesson.retained_free - lesson.retained_plain
    gain = lesson.retained - lesson.retained_plain
    if gap < 0.05:
        st.markdown("Here the pattern costs nothing: each row's best happen to be spread over the groups.")
    else:
        st.markdown(
            f"The pattern costs {gap:.1f} in the order in which the inputs stand; reallocation wins {gain:.1f} of it back "
            f"({text.percent(round(gain / gap, 3))})."
        )


def _charts(lesson: Reallocated, pattern: NM) -> None:
    outputs, inputs = numbered("y", ROWS), numbered("x", COLUMNS)
    order = lesson.permutation.tolist()
    frames = [
        Frame((0, ROWS - 1), (start, start + pattern.m - 1), OTHER, "dash") for start in range(0, COLUMNS, pattern.m)
    ]
    reach = float(lesson.scores.max())
    draw(
        f"Wanda's scores as the inputs stand; {pattern.label} in each group",
        Matrix(lesson.scores, outputs, inputs, keep=lesson.plain, signed=False, reach=reach, frames=frames),
        "groups_plain",
    )
    moved = sum(place != channel for place, channel in enumerate(order))
    plot.show(
        permutation_lines(order, inputs, pattern.m, plot.ink()),
        "groups_order",
        alt=f"The new order of the inputs: {', '.join(inputs[channel] for channel in order)}; {moved} have moved.",
        width=Matrix(lesson.scores, outputs, inputs).size[0],
    )
    draw(
        f"In the new order; {pattern.label} in each group",
        Matrix(
            lesson.scores[:, order],
            outputs,
            [inputs[channel] for channel in order],
            keep=lesson.keep[:, order],
            signed=False,
            reach=reach,
            frames=frames,
        ),
        "groups_reallocated",
    )
    st.caption(
        "Dashed: the groups. Lines: where each input goes, in colour and dash of its new group. The mask holds in the new "
        "order, which is kept with it; the weights themselves stay where they are."
    )


CHAPTER = Chapter(
    name="groups",
    short="3 N:M",
    title="N:M and channel reallocation: who sits with whom",
    words=_WORDS,
    formulas=of(Reallocation),
    example=_example,
    attempt="Move the norm of the first inputs up from 1. Look at the first group: more and more of what it must prune is "
    "larger than what the other groups keep, so the gap between the first and the third number grows. Then follow the lines: "
    "the snake deals the loud inputs to different groups, and the second number comes close to the third. LSA takes the rest, "
    "or most of it.",
    question="Can reallocation ever reach more than the third number, what each row keeps without any pattern?",
    answer="No. Every N:M mask in any order keeps the same number of weights in each row, and the third number is the total of "
    "the highest ones of each row. It need not be reached either: all rows share one order, and what suits one row may not "
    "suit another.",
    real=(
        RealThing(
            shell.PRUNE,
            "Prune the real model with RIA 2:4 and reallocation",
            ":material/content_cut:",
            plan.address(RunConfig(method="ria", pattern="2:4", stages=({"stage": "reallocation", "lsa": True},))),
        ),
    ),
)
