"""Why does this weight go?"""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.errors import InputError, explain
from core.measurements.scores import Scores
from core.methods import Method
from core.module_scores import aggregated_table, dense_weight, other_method, window_table
from core.scoring.aggregate import Window
from core.store import Run
from dashboard.components import cache, first_run, grid, measuring, options, state, text
from dashboard.components.charts.grid import ERROR
from dashboard.components.score_maps import DISAGREE, SCORES, VIEWS, Module, Side, histograms, maps

_EXTENTS = [8, 16, 32, 64, 128, 256, 512, 1024]
_WHY = (
    "A method gives every weight a score and prunes those with the lowest. A run keeps its masks but not its scores; they are "
    "computed for a whole block at once, in the background: the calibration text passes through the run's pruned blocks up "
    "to this one, and what its modules read there is kept, so that further methods take only seconds."
)


def render() -> None:
    st.title("Why does this weight go?")
    selection = state.sidebar()
    run = selection.run
    if run is None or run.result is None:
        _empty(run)
        return
    cache.start_worker()
    table = cache.modules(run)
    grid.show(table, ERROR, selection, "scores_grid", grid.error_caption(table))
    chosen = table[(table.block == selection.block) & (table.label == selection.label)]
    if not chosen.empty:
        _module(run, chosen.iloc[0])


def _empty(run: Run | None) -> None:
    if run is None:
        first_run.empty("No run is selected. Choose one in the sidebar, or prune a model first.")
    else:
        first_run.empty(f"This run is {run.status}, so there are no masks to explain yet. {run.attempt.message}")


def _module(run: Run, row: pd.Series) -> None:
    assert run.result is not None
    st.subheader(str(row.module))
    st.caption(
        f"{row.rows:,} outputs × {row.columns:,} inputs · {text.percent(row.sparsity)} pruned · dense weights, on the inputs of "
        f"block {row.block} as run `{run.id}` saw them: {run.result.calibrated_on}, after the pruned blocks before it"
    )
    if row.get("rank", 0) > 0:
        st.info(
            f"This module was replaced by two factors of rank {row['rank']:.0f}, so it has no mask to explain. Choose another.",
            icon=":material/info:",
        )
        return
    left, right = st.columns([1, 2])
    with left:
        wanted = _wanted(run, int(row.block))
    known = [scores for scores in wanted if scores.known(cache.store())]
    if missing := [scores for scores in wanted if scores not in known]:
        names = " and ".join(scores.method.title for scores in missing)
        measuring.offer_all(missing, f"Compute the scores of block {row.block} ({names})", _WHY)
    if not known:
        return
    sides = tuple(Side(scores, cache.module_scores(run, scores, str(row.module))) for scores in known)
    module = Module(run, row, sides, cache.input_norm(run, int(row.block), str(row.module)))
    with right:
        view = _view(module)
    _agreement(module)
    _look(module, view)
    st.subheader("All scores, and the cut")
    histograms(module)


def _wanted(run: Run, block: int) -> list[Scores]:
    """Of the run's method, and of the one beside it where it goes with the run's pattern."""
    own = Scores.of_run(run, block=block, method=run.config.method)
    titles = {cls.name: cls.title for cls in Method.registry.classes() if cls() != run.config.method}
    help = "Another method on the same weights and inputs, with its default parameters."
    other = Method.parse(options.select("Beside it", "against", titles, other_method(run).name, help))
    try:
        other.check(run.config.pattern)
    except InputError as error:
        st.info(explain(error), icon=":material/info:")
        return [own]
    return [own, Scores.of_run(run, block=block, method=other)]


def _view(module: Module) -> str:
    views = {view: title for view, title in VIEWS.items() if view != DISAGREE or len(module.sides) == 2}
    return options.segments("Colour shows", "view", views, SCORES)


def _agreement(module: Module) -> None:
    if len(module.sides) < 2:
        return
    a, b = module.sides
    found = cache.agreement(module.run, a.scores, b.scores, module.name)
    apart, every = found.either - found.both, module.shape[0] * module.shape[1]
    with st.container(horizontal=True):
        st.metric(
            "Overlap (Jaccard)",
            f"{found.overlap:.3f}",
            help="Weights that both masks keep, as a share of those that either keeps.",
            width="content",
        )
        st.metric(
            "By chance",
            f"{found.by_chance:.3f}",
            help="The overlap of masks of these densities that know nothing of each other.",
            width="content",
        )
        st.metric(
            "Disagree",
            text.percent(apart / every),
            help=f"Share of the weights that one keeps and the other prunes: {apart:,.0f} of {every:,}.",
            width="content",
        )


@st.fragment
def _look(module: Module, view: str) -> None:
    """The whole matrix, and below it the window with the selected weight; a click there draws nothing else again."""
    whole = Window.whole(module.shape)
    overview = st.container()
    st.subheader("Real weights")
    left, right = st.columns([2, 1])
    with left:
        output, input_ = state.place(module.shape, (0, int(module.norm.argmax())))
    with right:
        extent = st.select_slider(
            "Weights across",
            _EXTENTS,
            value=16,
            key="extent",
            bind="query-params",
            help="How many rows and columns are shown. Up to 32, every weight can be clicked; up to 256, every cell is one weight.",
        )
    window = Window.around(output, input_, int(extent), module.shape)
    near = st.container()
    _weight(module, output, input_)  # before the maps, which take longer to draw
    with near:
        maps(module, view, window, Window(output, input_, 1, 1), "window")
        st.caption(
            f"Outputs {window.row} to {window.row + window.rows - 1}, inputs {window.column} to "
            f"{window.column + window.columns - 1}. Framed: the selected weight. Click another, or enter its numbers."
        )
    with overview:
        maps(module, view, whole, window, "whole")
        cells = (
            "each cell is the mean (or maximum) of its weights"
            if max(module.shape) > 256
            else "each cell is one weight"
        )
        st.caption(
            f"The whole module, outputs downwards and inputs to the right; {cells}. Above: the norm of the inputs (highest in each "
            "cell, log axis); beside: the mean of each row. Framed: the window below. Click to look there."
        )
    _downloads(module, window)


def _weight(module: Module, output: int, input_: int) -> None:
    value = float(dense_weight(module.run, int(module.row.block), module.name, cache.store())[output, input_])
    norm = float(module.norm[input_])
    st.markdown(f"**Output {output}, input {input_}: weight {value:.4g}, input norm {norm:.4g}**")
    for column, side in zip(st.columns(len(module.sides), gap="medium"), module.sides, strict=True):
        found = cache.place(module.run, side.scores, module.name, output, input_)
        with column, st.container(border=True):
            kept = bool(side.found.keep[output, input_])
            st.markdown(f"**{side.name}**: {':material/check: kept' if kept else ':material/close: pruned'}")
            if found is not None and side.found.compared is not None:
                st.caption(
                    f"Score {found.score:.4g} · rank {found.rank:,} of {found.size:,} in {side.found.compared.whose} "
                    f"(1 is the highest; {found.stay:,} stay)"
                )
            st.write(side.found.why(output, input_, value, norm, found))


def _downloads(module: Module, window: Window) -> None:
    sides = [side.found for side in module.sides]
    with st.container(horizontal=True):
        st.download_button(
            "Map of the module (CSV)",
            lambda: aggregated_table(sides).to_csv(index=False),
            f"{module.run.id}-{module.name}-map.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )
        st.download_button(
            "Weights of the window (CSV)",
            lambda: window_table(sides, int(module.row.block), window, cache.store()).to_csv(index=False),
            f"{module.run.id}-{module.name}-window.csv",
            "text/csv",
            icon=":material/download:",
            on_click="ignore",
        )


render()
