"""How does it work? Chapters on matrices small enough to see every number."""

from __future__ import annotations

import streamlit as st

from dashboard.components import options, state
from dashboard.components.chapters import CHAPTERS
from dashboard.components.chapters.base import Chapter, Place, RealThing


def render() -> None:
    st.title("How does it work?")
    selection = state.sidebar()
    titles = {chapter.name: chapter.short for chapter in CHAPTERS.values()}
    chapter = CHAPTERS[options.segments("Chapter", "chapter", titles, next(iter(titles)))]
    st.header(chapter.title, divider="gray")
    left, right = st.columns([3, 5], gap="medium")
    with left:
        st.markdown(chapter.words)
        _formulas(chapter)
        _exercise(chapter)
    with right:
        controls = st.container(border=True)
        chapter.example(Place(controls, st.container(), _seed(controls), selection))
    _turn(chapter)


def _formulas(chapter: Chapter) -> None:
    """Each part of a formula on a line of its own, and in the running text: a display formula would scroll, not break."""
    for formula, reference in chapter.formulas:
        for part in formula.split(r",\quad"):
            st.markdown(rf"$\displaystyle {part.strip()}$", text_alignment="center")
        st.markdown(f"[{reference.title}]({reference.link}), {reference}")


def _seed(controls: st.delta_generator.DeltaGenerator) -> int:
    """Which random numbers the examples have; part of the address, so that a class sees the same ones."""

    def another() -> None:
        st.session_state["seed"] = (st.session_state["seed"] + 1) % 1000

    with controls, st.container(horizontal=True, vertical_alignment="bottom"):
        seed = st.number_input(
            "Numbers",
            0,
            999,
            0,
            key="seed",
            bind="query-params",
            help="The seed of the small matrices: the same number gives the same example on every computer.",
            width=140,
        )
        st.button("New numbers", icon=":material/casino:", on_click=another)
    return int(seed)


def _exercise(chapter: Chapter) -> None:
    st.subheader("Try this", divider="gray")
    st.markdown(chapter.attempt)
    st.subheader("A question", divider="gray")
    st.markdown(chapter.question)
    with st.expander("Answer", icon=":material/lightbulb:"):
        st.markdown(chapter.answer)
    st.subheader("On the real model", divider="gray")
    for thing in chapter.real:
        _link(thing)


def _link(thing: RealThing) -> None:
    st.page_link(thing.page, label=thing.label, icon=thing.icon, query_params=dict(thing.query))


def _turn(chapter: Chapter) -> None:
    """To the chapter before, and to the next."""
    names = list(CHAPTERS)
    at = names.index(chapter.name)
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        for step, icon in ((-1, ":material/arrow_back:"), (1, ":material/arrow_forward:")):
            if 0 <= at + step < len(names):
                other = CHAPTERS[names[at + step]]
                st.button(
                    other.short, icon=icon, on_click=options.choose, args=["chapter", other.name], key=f"turn_{step}"
                )


render()
