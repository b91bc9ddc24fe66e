"""What perplexity is."""

from __future__ import annotations

import math

import streamlit as st

from core.lessons.surprise import SENTENCE, VOCABULARY, Surprise, surprise
from core.reference import Reference
from core.store import Run
from dashboard.components import plot, shell, text
from dashboard.components.chapters.base import Chapter, Place, RealThing, draw
from dashboard.components.charts.lines import Line, lines
from dashboard.components.charts.matrix import Frame, Matrix, Strip

_WORDS = f"""
How good is a pruned model? Let it read a text, and ask before each word which one comes next. It answers with a
probability for every word it knows. The **loss** of a word is $-\\ln p$ of the one that really came: 0 if the model was
certain, $\\ln {len(VOCABULARY)} = {math.log(len(VOCABULARY)):.2f}$ if all of {len(VOCABULARY)} words seemed equally likely.

**Perplexity** is $e$ to the mean loss. It reads as a number of choices: a perplexity of 20 means that the model was, on
average, as unsure as among 20 equally likely words. Lower is better. The text is cut into windows of equal length; each
window's losses are averaged, and then the windows.
"""
_JELINEK = Reference(
    key="jelinek1977perplexity",
    title="Perplexity—a measure of the difficulty of speech recognition tasks",
    authors=("Fred Jelinek", "Robert L. Mercer", "Lalit R. Bahl", "James K. Baker"),
    year=1977,
    venue="The Journal of the Acoustical Society of America 62(S1)",
    url="https://doi.org/10.1121/1.2016299",
)
_HARD = 5
"""The prediction that can be made to go wrong."""


def _example(place: Place) -> None:
    with place.controls:
        left, right = st.columns(2)
        knowledge = left.slider(
            "What the model knows", 0.0, 8.0, 3.0, 0.5, key="perplexity_knowledge", bind="query-params",
            help="By how much the logit of the right word is above the others'.",
        )  # fmt: skip
        noise = right.slider(
            "Noise of pruning", 0.0, 4.0, 0.5, 0.25, key="perplexity_noise", bind="query-params",
            help="Random numbers added to all logits, as pruning changes them.",
        )  # fmt: skip
        misled = st.slider(
            f"One bad surprise: the logit of “{SENTENCE[_HARD + 1]}” is lower by",
            0.0, 12.0, 0.0, 0.5, key="perplexity_misled", bind="query-params",
        )  # fmt: skip
        lesson = surprise(place.seed, knowledge, noise, misled, _HARD)
        st.markdown(_told(lesson))
    with place.charts:
        _charts(lesson)
        _real(place.selection.run)


def _told(lesson: Surprise) -> str:
    total = " + ".join(f"{loss:.2f}" for loss in lesson.losses)
    return (
        f"Mean loss ({total}) ÷ {len(lesson.losses)} = {lesson.mean:.3f} nats. **Perplexity e^{lesson.mean:.3f} = "
        f"{text.perplexity(lesson.perplexity)}**: as unsure as among {text.perplexity(lesson.perplexity)} equally likely words, of "
        f"{len(VOCABULARY)} that this model knows."
    )


def _charts(lesson: Surprise) -> None:
    draw(
        f"“{SENTENCE[0].capitalize()} …”: the probability of every word at each place",
        Matrix(
            lesson.probabilities,
            list(VOCABULARY),
            list(SENTENCE[1:]),
            signed=False,
            digits=2,
            reach=1.0,
            above=Strip("loss", lesson.losses),
            frames=[Frame((word, word), (place, place)) for place, word in enumerate(lesson.targets)],
        ),
        "perplexity_words",
        told=f"Losses: {', '.join(f'{loss:.2f}' for loss in lesson.losses)}.",
    )
    st.caption(
        "Framed: the word that really comes. Loss: −ln of the framed probability. The model is made up of random numbers."
    )


def _real(run: Run | None) -> None:
    """The windows of the selected run, from which its perplexity follows in the same way."""
    if run is None or run.result is None:
        st.info("Select a finished run in the sidebar to see the same on a real model.", icon=":material/info:")
        return
    dense, pruned = run.result.dense_perplexity, run.result.perplexity
    st.markdown(f"**The same on the real model: {run.name}**")
    numbers = list(range(1, dense.windows + 1))
    plot.show(
        lines(
            [Line(name, numbers, list(one.losses)) for name, one in (("dense", dense), ("pruned", pruned))],
            "Window",
            "Mean loss (nats a token)",
        ),
        "perplexity_windows",
        alt=f"Mean loss of each of {dense.windows} windows, dense and pruned.",
    )
    words = [_in_words(name, one.losses, one.value) for name, one in (("Dense", dense), ("Pruned", pruned))]
    st.caption(f"{' '.join(words)} Measured on {run.result.evaluated_on}.")


def _in_words(name: str, losses: tuple[float, ...], value: float) -> str:
    return f"{name}: mean of {len(losses)} windows {math.fsum(losses) / len(losses):.3f}, perplexity {text.perplexity(value)}."


CHAPTER = Chapter(
    name="perplexity",
    short="8 Perplexity",
    title="Perplexity: how surprised is the model?",
    words=_WORDS,
    formulas=((r"\mathrm{PPL} = \exp\!\left(-\frac{1}{n}\sum_{t=1}^{n} \ln p(w_t \mid w_{<t})\right)", _JELINEK),),
    example=_example,
    attempt=f"Set the noise and the knowledge to 0: the model knows nothing, and the perplexity is {len(VOCABULARY)}, the "
    "number of its words. Then let it know more, and add one bad surprise: a single word that the model took for impossible can "
    "outweigh all others.",
    question="One model has perplexity 20, its pruned form 30. By how much did the mean loss rise, and how likely is the right "
    "word now, compared with before?",
    answer="By ln 30 − ln 20 = 0.41 nats. In the geometric mean, the right word's probability fell from 1/20 to 1/30: to two "
    "thirds. A difference in loss is a ratio in probability, wherever on the scale it happens.",
    real=(
        RealThing(shell.COMPARE, "A text coloured by how much each token's loss rose", ":material/compare_arrows:"),
        RealThing(shell.CURVES, "Perplexity over sparsity", ":material/show_chart:"),
    ),
)
