"""The maps of a module's scores and masks, and what is said of one weight."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
import streamlit as st

from core.measurements.scores import Scores
from core.module_scores import ModuleScores
from core.scoring.aggregate import Aggregated, Window, along, coarser, row_means
from core.store import Run
from dashboard.components import cache, plot, state
from dashboard.components.charts.scores import Colour, Marks, Strips, Target, clicked_place, matrix_map, score_histogram

SCORES, HIGHEST, KEPT, DISAGREE = "scores", "highest", "kept", "disagree"
VIEWS = {SCORES: "Mean score", HIGHEST: "Highest score", KEPT: "Share kept", DISAGREE: "Where they disagree"}
WEIGHTS_CLICKED = 32
"""Rows and columns up to which each weight of a map can be clicked, and is marked where it is pruned."""
_NUMBERS = 8
_TILES = 24


@dataclass(frozen=True)
class Side:
    """One of the methods on the page: what it measured, and that opened."""

    scores: Scores
    found: ModuleScores

    @property
    def name(self) -> str:
        return f"{self.scores.method.described}{' (this run)' if self.found.own else ''}"

    @property
    def key(self) -> str:
        return "own" if self.found.own else "other"


@dataclass(frozen=True)
class Module:
    """A module of a run, with the methods that are known for it."""

    run: Run
    row: pd.Series
    sides: tuple[Side, ...]
    norm: np.ndarray

    @property
    def name(self) -> str:
        return str(self.row.module)

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.row.rows), int(self.row.columns)


def maps(module: Module, view: str, window: Window, frame: Window, key: str) -> None:
    """The maps of ``window``, side by side; a click selects a weight. ``frame``: what is framed in them."""
    places = st.columns(len(module.sides), gap="medium") if view != DISAGREE else [st.container()]
    for place, side in zip(places, module.sides, strict=False):
        with place:
            if view == DISAGREE:
                _disagreement(module, window, frame, key)
            else:
                _one(module, side, view, window, frame, key)


def _one(module: Module, side: Side, view: str, window: Window, frame: Window, key: str) -> None:
    st.markdown(f"**{side.name}**")
    kept = cache.score_map(module.run, side.scores, module.name, window, "keep")
    scores = None
    if side.found.scores is not None:
        scores = cache.score_map(module.run, side.scores, module.name, window, "scores")
    elif view != KEPT:
        st.caption(f":material/info: {side.found.facts.note} Shown is its mask.")
    if scores is None or view == KEPT:
        shown, colour, beside = kept, Colour("Share kept", low=0, high=1, tick=".0%"), "Kept"
    else:
        shown = scores._replace(mean=scores.maximum) if view == HIGHEST else scores
        title = "Score" if scores.true else VIEWS[view]
        colour, beside = Colour(title, logarithmic=True), "Mean"
    strip = row_means(kept if shown is kept else (scores or kept))
    _draw(
        module, shown, colour, strip, beside, _texts(module, kept, scores), frame, f"{key}_{side.key}",
        _pruned(kept) if shown is not kept else [],
    )  # fmt: skip


def _disagreement(module: Module, window: Window, frame: Window, key: str) -> None:
    a, b = module.sides
    shown = cache.disagreement(module.run, a.scores, b.scores, module.name, window)
    masks = [cache.score_map(module.run, side.scores, module.name, window, "keep") for side in module.sides]
    tiles, *kept = (coarser(one, _tiles(one)) for one in (shown, *masks))
    texts = [
        f"{where}<br>disagree on {tiles.mean[i, j]:.1%}<br>kept: {a.scores.method.title} {kept[0].mean[i, j]:.1%}, "
        f"{b.scores.method.title} {kept[1].mean[i, j]:.1%}"
        for where, (i, j) in zip(_where(tiles), np.ndindex(tiles.mean.shape), strict=True)
    ]
    marks = []
    if _clickable(shown):
        for side, mine, theirs, symbol, sign in ((a, 0, 1, "triangle-up", "▲"), (b, 1, 0, "triangle-down", "▼")):
            rows, columns = np.nonzero(masks[mine].mean > masks[theirs].mean)
            marks.append(
                Marks(
                    f"{sign} only {side.scores.method.title} keeps it",
                    symbol,
                    rows + window.row,
                    columns + window.column,
                    on_high=True,
                )
            )
    high = float(shown.mean.max()) or 1.0
    colour = Colour("Share on which they disagree", low=0, high=high, tick=".0%")
    _draw(module, shown, colour, row_means(shown), "Disagree", (tiles, texts), frame, f"{key}_disagree", marks)


def _draw(
    module: Module,
    shown: Aggregated,
    colour: Colour,
    strip: np.ndarray,
    beside: str,
    said: tuple[Aggregated, list[str]],
    frame: Window,
    key: str,
    marks: list[Marks],
) -> None:
    tiles, texts = said
    share = beside != "Mean"
    strips = Strips(
        along(module.norm, shown.column_edges).maximum[0], "Norm", strip, beside, (0.0, 1.0) if share else None
    )
    rows, columns = ((edges[:-1] + edges[1:] - 1) // 2 for edges in (tiles.row_edges, tiles.column_edges))
    targets = [
        Target(int(rows[i]), int(columns[j]), text)
        for (i, j), text in zip(np.ndindex(tiles.mean.shape), texts, strict=True)
    ]
    numbers = shown.true and max(shown.mean.shape) <= _NUMBERS
    plot.show(
        matrix_map(shown, colour, strips, targets, frame, marks, numbers),
        f"map_{key}",
        alt=_alt(module, shown, colour),
        on_select=lambda: _select(f"map_{key}", not _clickable(shown)),
        selection_mode="points",
    )


def _select(key: str, zoom: bool) -> None:
    if place := clicked_place(st.session_state[key]):
        state.select_place(*place)
        if zoom and st.session_state["extent"] > WEIGHTS_CLICKED:
            st.session_state["extent"] = WEIGHTS_CLICKED


def _clickable(shown: Aggregated) -> bool:
    """Whether every weight of the map can be clicked."""
    return shown.true and max(shown.mean.shape) <= WEIGHTS_CLICKED


def _tiles(shown: Aggregated) -> int:
    return WEIGHTS_CLICKED if _clickable(shown) else _TILES


def _texts(module: Module, kept: Aggregated, scores: Aggregated | None) -> tuple[Aggregated, list[str]]:
    """The places of a map that can be clicked, and what is said of each."""
    masks = coarser(kept, _tiles(kept))
    tiles = masks if scores is None else coarser(scores, _tiles(kept))
    norms = along(module.norm, tiles.column_edges).maximum[0].tolist()
    means, highest, shares = tiles.mean.tolist(), tiles.maximum.tolist(), masks.mean.tolist()
    single, texts = tiles.true, []
    for where, (i, j) in zip(_where(tiles), np.ndindex(tiles.mean.shape), strict=True):
        parts = [where]
        if single:
            parts += [f"score {means[i][j]:.3g}"] if scores is not None else []
            parts += [f"input norm {norms[j]:.3g}", "kept" if shares[i][j] else "pruned"]
        else:
            parts += [f"score: mean {means[i][j]:.3g}, highest {highest[i][j]:.3g}"] if scores is not None else []
            parts += [f"highest input norm {norms[j]:.3g}", f"kept {shares[i][j]:.1%}"]
        texts.append("<br>".join(parts))
    return tiles, texts


def _where(tiles: Aggregated) -> list[str]:
    """Which outputs and inputs each tile holds, row after row."""
    if tiles.true:
        return [f"output {row}, input {column}" for row in tiles.row_edges[:-1] for column in tiles.column_edges[:-1]]
    return [
        f"outputs {top}–{bottom - 1}, inputs {left}–{right - 1}"
        for top, bottom in pairwise(tiles.row_edges)
        for left, right in pairwise(tiles.column_edges)
    ]


def _pruned(kept: Aggregated) -> list[Marks]:
    if not _clickable(kept):
        return []
    rows, columns = np.nonzero(kept.mean == 0)
    return [Marks("pruned", "x-thin-open", rows + kept.row_edges[0], columns + kept.column_edges[0])]


def _alt(module: Module, shown: Aggregated, colour: Colour) -> str:
    outputs, inputs = (f"{edges[0]} to {edges[-1] - 1}" for edges in (shown.row_edges, shown.column_edges))
    i, j = np.unravel_index(int(shown.mean.argmax()), shown.mean.shape)
    return (
        f"{colour.title} of {module.name}: outputs {outputs} downwards, inputs {inputs} to the right, in "
        f"{shown.mean.shape[0]} × {shown.mean.shape[1]} cells. From {shown.mean.min():.3g} to {shown.mean.max():.3g}, highest at "
        f"output {shown.row_edges[i]}, input {shown.column_edges[j]}. Above it the norm of each input, beside it a value an output."
    )


def histograms(module: Module) -> None:
    """How the scores are distributed under each method, and where the cut is."""
    for place, side in zip(st.columns(len(module.sides), gap="medium"), module.sides, strict=True):
        facts = side.found.facts
        with place:
            st.markdown(f"**{side.name}**")
            if facts.histogram is None:
                st.info(facts.note or "All scores are zero, so there is nothing to show.", icon=":material/info:")
                continue
            plot.show(
                score_histogram(facts.histogram, facts.cut),
                f"histogram_{side.key}",
                alt=f"Histogram of the scores of {module.name} under {side.name}: {sum(facts.histogram.kept):,} kept, "
                f"{sum(facts.histogram.pruned):,} pruned.",
            )
            st.caption(_cut_words(side))


def _cut_words(side: Side) -> str:
    cut, compared = side.found.facts.cut, side.found.compared
    low = "The first bar holds all smaller scores too."
    if cut is None or compared is None:
        return f"The pattern does not tell which scores compete, so there is no cut to show. {low}"
    if cut.groups == 1:
        words = f"One cut for {compared.each}: {cut.low:.3g}."
    else:
        words = (
            f"Scores compete within {compared.each}, so there are {cut.groups:,} cuts, from {cut.low:.3g} to {cut.high:.3g} "
            "(grey): a score kept in one may be pruned in another."
        )
    if not cut.separates:
        words += " The mask is not what these scores alone decide: see the weights below and above their cut."
    return f"{words} {low}"
