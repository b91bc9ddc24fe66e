"""Five steps through the pages, shown at the first start; each can be skipped, none stands in the way."""

from __future__ import annotations

from typing import NamedTuple

import streamlit as st

from dashboard.components import cache, state


class Step(NamedTuple):
    """A page, its name, the question it answers, and what there is to do."""

    page: str
    name: str
    question: str
    words: str


STEPS = (
    Step(
        "dashboard/prune.py",
        "Prune",
        "What happens if I prune it?",
        "Choose a model, a method and how much goes. A run prunes it, measures what that did, and is kept. **Prune SmolLM2 "
        "now** makes the first one in about a minute; the tour goes on meanwhile.",
    ),
    Step(
        "dashboard/spectra.py",
        "Spectra",
        "Which layers are heavy-tailed?",
        "The eigenvalues of a layer's weights hint at how much it may lose. Compute them once, then move the sliders of the "
        "allocation studio: every layer gets a sparsity of its own.",
    ),
    Step(
        "dashboard/scores.py",
        "Scores",
        "Why does this weight go?",
        "One matrix up close: the score of each weight, what it is made of, where the cut lies, and where two methods "
        "disagree.",
    ),
    Step(
        "dashboard/curves.py",
        "Curves",
        "How far can it go?",
        "A sweep makes many runs along a few axes and draws perplexity over sparsity, a line a method. Points appear as they "
        "finish.",
    ),
    Step(
        "dashboard/learn.py",
        "Learn",
        "How does it work?",
        "Each method on matrices small enough to see every number, with controls, one thing to try and one question.",
    ),
)


def card(opened: str) -> None:
    """The step of the page that is ``opened``, above it; nothing where the tour is not on."""
    number = state.tour_step(_first_start)
    if number is None:
        return
    own = next((place for place, step in enumerate(STEPS) if step.name == opened), None)
    if own is not None and own != number:  # the user went there by the navigation, and the tour goes along
        number = own
        state.follow_tour(own)
    step, last = STEPS[number], number == len(STEPS) - 1
    with st.container(border=True, key="tour"):
        title = f"Tour, {number + 1} of {len(STEPS)} · {step.name}"
        if own is None:
            on = "ends the tour" if last else f"goes on to {STEPS[number + 1].name}"
            st.markdown(f"**{title}:** {opened} is not a stop of it. **{'Done' if last else 'Next'}** {on}.")
        else:
            st.markdown(f"**{title}: {step.question}** {step.words}")
        with st.container(horizontal=True):
            if last:
                if st.button("Done", icon=":material/check:", key="tour_next", shortcut="Alt+N"):
                    _end()
            elif st.button("Next", icon=":material/arrow_forward:", key="tour_next", shortcut="Alt+N"):
                state.go_on_tour(number + 1, STEPS[number + 1].page)
            if number and st.button("Back", icon=":material/arrow_back:", key="tour_back", shortcut="Alt+B"):
                state.go_on_tour(number - 1, STEPS[number - 1].page)
            if not last and st.button("Skip the tour", type="tertiary", key="tour_skip", shortcut="Alt+K"):
                _end()


def reopen() -> None:
    """At the foot of the sidebar, for who wants it later, or again."""
    with st.sidebar:
        if st.button("Take the tour", type="tertiary", icon=":material/tour:", key="tour_again"):
            state.go_on_tour(0, STEPS[0].page)


def _first_start() -> bool:
    """Whether nothing has finished in this store, and nobody has ended the tour."""
    store = cache.store()
    return store.fact(_SEEN) is None and not any(run.result is not None for run in store.runs())


_SEEN = "tour ended"


def _end() -> None:
    cache.store().remember(_SEEN, {})
    state.end_tour()
