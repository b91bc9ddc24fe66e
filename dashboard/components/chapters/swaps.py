"""LLM-Barber's swaps, one pair at a time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from core.config import RunConfig
from core.lessons.swaps import HIDDEN, INPUTS, Swaps, swaps
from core.methods.magnitude import Magnitude
from core.methods.wanda import Wanda
from core.stages.barber import Barber, Granularity
from core.stages.barber_steps import Pair
from core.stages.barber_steps import Place as Weight
from dashboard.components import plan, plot, shell, stepper
from dashboard.components.chapters.base import Chapter, Place, RealThing, draw, numbered, of
from dashboard.components.charts.lines import Line, lines
from dashboard.components.charts.matrix import OTHER, Frame, Matrix

_WORDS = """
Wanda and magnitude look at one matrix at a time. What a weight means to the **block**, the attention or the MLP as a
whole, can differ. **LLM-Barber** looks at a finished mask again: it runs the dense and the pruned block on the same
input, and the gradient of their difference says how much each weight has to do with it. Size times gradient is the
metric.

Then the best **pruned** weight is paired with the worst **kept** one, the second best with the second worst, and so on.
While the pruned one of a pair is the higher, the pair is *mismatched*, and the two may change places. As many weights
survive as before. The gradient is a guess about small steps, so only a share of the mismatched pairs is swapped (the
*threshold*; 1 % by default).
"""
_WITHIN: dict[str, Granularity] = {"block": "block", "matrix": "layer", "row": "output1"}
_ROWS, _COLUMNS = {"up": "h", "down": "y"}, {"up": "x", "down": "h"}


def _example(place: Place) -> None:
    with place.controls:
        left, middle = st.columns(2)
        method = left.segmented_control(
            "First mask by",
            ["Magnitude", "Wanda"],
            default="Magnitude",
            required=True,
            key="barber_first",
            bind="query-params",
        )
        within = middle.segmented_control(
            "Compare within", list(_WITHIN), default="block", required=True, key="barber_within", bind="query-params",
            help="Both matrices together, each matrix, or each row. Magnitude and Wanda compare within rows here.",
        )  # fmt: skip
        threshold = st.slider(
            "Threshold: share of the mismatched pairs that is swapped", 0.0, 1.0, 1.0, 0.05, format="percent",
            key="barber_threshold", bind="query-params", help="1 % by default; of so few pairs that would be none.",
        )  # fmt: skip
        first = Magnitude() if method == "Magnitude" else Wanda()
        lesson = swaps(place.seed, first, 0.5, _WITHIN[str(within)], threshold)
    with place.charts:
        stepper.show("barber_swap", len(lesson.done), "Swaps done", lambda step: _draw(lesson, step))


def _draw(lesson: Swaps, step: int) -> None:
    st.markdown(_told(lesson, step))
    pair = lesson.done[step - 1] if step else None
    reach = max(float(metric.max()) for metric in lesson.metrics.values())
    places = st.columns([INPUTS + 1, HIDDEN + 1])
    for place, (name, metric) in zip(places, lesson.metrics.items(), strict=True):
        with place:
            draw(
                f"{name}: metric |W| · D",
                Matrix(
                    metric,
                    numbered(_ROWS[name], len(metric)),
                    numbered(_COLUMNS[name], metric.shape[1]),
                    keep=lesson.keeps[step][name],
                    signed=False,
                    digits=2,
                    reach=reach,
                    frames=_frames(pair, name),
                ),
                f"barber_{name}",
            )
    _losses(lesson, step)
    with st.expander(f"All {len(lesson.pairs)} pairs, in the order in which they are considered"):
        st.dataframe(_table(lesson), hide_index=True)


def _frames(pair: Pair | None, name: str) -> list[Frame]:
    """Around what grew (solid) and what was cut (dashed)."""
    if pair is None:
        return []
    both = ((pair.grow, "solid", None), (pair.cut, "dash", OTHER))
    return [
        Frame((one.row, one.row), (one.column, one.column), dash=dash, **({"color": color} if color else {}))
        for one, dash, color in both
        if one.module == name
    ]


def _told(lesson: Swaps, step: int) -> str:
    mismatched = sum(pair.mismatched for pair in lesson.pairs)
    many = f"{mismatched} of {len(lesson.pairs)} pairs are mismatched; {len(lesson.done)} of them are swapped."
    if step == 0:
        return f"The first mask: loss {lesson.losses[0]:.4f}. {many}"
    pair = lesson.done[step - 1]
    before, after = lesson.losses[step - 1], lesson.losses[step]
    return (
        f"Swap {step} of {len(lesson.done)}: **{_name(pair.grow)}** (metric {pair.grow_metric:.3f}, solid frame) comes back for "
        f"**{_name(pair.cut)}** ({pair.cut_metric:.3f}, dashed). The loss {'falls' if after < before else 'rises'} from "
        f"{before:.4f} to {after:.4f}. {many}"
    )


def _name(weight: Weight) -> str:
    row = numbered(_ROWS[weight.module], weight.row + 1)[-1]
    return f"{weight.module} {row}{numbered(_COLUMNS[weight.module], weight.column + 1)[-1]}"


def _losses(lesson: Swaps, step: int) -> None:
    plot.show(
        lines(
            [Line("loss", list(range(len(lesson.losses))), lesson.losses)], "Swaps done", "Loss of the block", mark=step
        ),
        "barber_losses",
        alt=f"The block's loss over the swaps: {', '.join(f'{loss:.4f}' for loss in lesson.losses)}.",
    )
    st.caption(
        "Loss: mean((dense(x) − pruned(x))²) at the block's output, over four sequences of 16 tokens. The block is a small MLP, "
        f"y = down · relu(up · x), with {INPUTS} inputs, {HIDDEN} hidden and {INPUTS} outputs; half of each row is pruned at first."
    )


def _table(lesson: Swaps) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "Pruned": _name(pair.grow),
                "Its metric": np.round(pair.grow_metric, 4),
                "Kept": _name(pair.cut),
                "Its metric ": np.round(pair.cut_metric, 4),
                "Mismatched": pair.mismatched,
                "Swapped": pair.swapped,
            }
            for pair in lesson.pairs
        ]
    )


CHAPTER = Chapter(
    name="barber",
    short="6 LLM-Barber",
    title="LLM-Barber: a second look at the mask",
    words=_WORDS,
    formulas=of(Barber),
    example=_example,
    attempt="Step through the swaps and watch the loss. The first ones promise most, and mostly keep the promise; the last ones "
    "are close calls, and may well raise it. Find the threshold that stops at the lowest point. Then compare within rows "
    "instead of the block: fewer pairs are free to meet.",
    question="After the swaps, has each matrix of the block kept as many weights as before?",
    answer="The block as a whole has, always. With *block*, a weight of one matrix may take the place of one of the other, so a "
    "single matrix can gain or lose. With *matrix* each keeps its count, and with *row* each row does.",
    real=(
        RealThing(
            shell.PRUNE,
            "Prune the real model with Wanda and LLM-Barber",
            ":material/content_cut:",
            plan.address(RunConfig(method="wanda", stages=("barber",))),
        ),
    ),
)
