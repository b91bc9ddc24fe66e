"""What a chapter of the Learn page is, and what all chapters draw with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from core.reference import Reference
from dashboard.components import plot, state
from dashboard.components.charts.matrix import Matrix, matrix, plainly

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Place:
    """Where a chapter draws: its controls at the left, its charts at the right; ``seed`` decides its numbers."""

    controls: DeltaGenerator
    charts: DeltaGenerator
    seed: int
    selection: state.Selection


@dataclass(frozen=True)
class RealThing:
    """Where the same is seen on the real model: a page, with the address of what to choose there."""

    page: str
    label: str
    icon: str
    query: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Chapter:
    """``words``: two or three paragraphs. ``formulas``: LaTeX, with the paper it is from. ``example``: draws the small one."""

    name: str
    short: str
    title: str
    words: str
    formulas: tuple[tuple[str, Reference], ...]
    example: Callable[[Place], None]
    attempt: str
    question: str
    answer: str
    real: tuple[RealThing, ...]


def of(*components: Any) -> tuple[tuple[str, Reference], ...]:
    """Formula and paper of methods, stages or allocations, as they state them."""
    return tuple((component.formula, component.reference) for component in components)


def numbered(letter: str, count: int) -> list[str]:
    """``x₁``, ``x₂``, …"""
    return [f"{letter}{str(number).translate(_SUBSCRIPTS)}" for number in range(1, count + 1)]


def sparsity_slider(place: DeltaGenerator, chapter: str) -> float:
    """How much of a small matrix is pruned."""
    key = f"{chapter}_sparsity"
    return place.slider("Sparsity", 0.25, 0.75, 0.5, 0.125, format="percent", key=key, bind="query-params")


def draw(title: str, drawn: Matrix, key: str, told: str = "") -> None:
    """A matrix under its title; ``told`` is said of it to those who cannot see it."""
    st.markdown(f"**{title}**")
    width, _ = drawn.size
    plot.show(matrix(drawn, plot.ink()), key, alt=f"{title}. {_read(drawn)} {told}".strip(), width=width)


def _read(drawn: Matrix) -> str:
    """The numbers of a matrix in words, row by row."""
    kept = drawn.keep if drawn.keep is not None else drawn.values == drawn.values
    rows = [f"{drawn.above.name}: {', '.join(drawn.above.words)}."] if drawn.above else []
    for name, values, keeps in zip(drawn.rows, drawn.values.tolist(), kept.tolist(), strict=True):
        words = [
            f"{plainly(value, drawn.digits)}{'' if here else ' pruned'}"
            for value, here in zip(values, keeps, strict=True)
        ]
        rows.append(f"Row {name}: {', '.join(words)}.")
    if drawn.beside:
        rows.append(f"{drawn.beside.name}: {', '.join(drawn.beside.words)}.")
    return " ".join(rows)
