"""How far can it go?"""

from __future__ import annotations

import math
from collections import Counter

import pandas as pd
import streamlit as st

from core.difference import measured_text
from core.errors import InputError, explain
from core.methods import Method
from core.published import against_published, published_table
from core.store import Run
from core.store.sweep_records import SweepProgress, SweepRecord
from core.sweeps.table import curve, measured_on, sweep_table
from dashboard.components import cache, first_run, plot, state, sweep_plan, sweep_progress
from dashboard.components.charts.curves import Style, clicked_run, curves

_REFRESH_SECONDS = 2.0
_LINES = {
    "model": "Model",
    "method": "Method",
    "allocation": "Allocation",
    "stages": "Stages",
}


def render() -> None:
    st.title("How far can it go?")
    state.sidebar()
    cache.start_worker()
    records = cache.store().sweeps.all()
    with st.expander("New sweep", icon=":material/add:", expanded=not records):
        _builder()
    record = state.sweep_choice(records)
    if record is None:
        _curves([run for run in cache.store().runs() if run.result is not None], ())
        return
    progress = cache.store().sweeps.progress(record.id)
    if progress.active:
        _live(record)
    else:
        _sweep(record, progress)


@st.fragment
def _builder() -> None:
    sweep_plan.form()


@st.fragment(run_every=_REFRESH_SECONDS)
def _live(record: SweepRecord) -> None:
    """The sweep while it goes on: points appear as they finish."""
    cache.store().reconcile()  # its process may have died
    progress = cache.store().sweeps.progress(record.id)
    if not progress.active:
        st.rerun(scope="app")
    _sweep(record, progress)


def _sweep(record: SweepRecord, progress: SweepProgress) -> None:
    sweep_progress.show(record, progress)
    sweep_plan.show_left_out(list(record.left_out))
    runs = [run for run in cache.store().sweeps.runs(record.id) if run.result is not None]
    _curves(runs, record.sweep.paths)


def _curves(runs: list[Run], paths: tuple[str, ...] | list[str]) -> None:
    if not runs:
        first_run.empty("No point is finished yet. A sweep prunes one model many ways and draws what it costs.")
        return
    table = sweep_table(runs, paths)
    runs, table = _one_evaluation(runs, table)
    varied = [name for name in (*_LINES, *_own_columns(table)) if table[name].nunique(dropna=False) > 1] or ["method"]
    try:
        points = curve(table, line=[*varied, "pattern"])
    except InputError as error:
        st.error(explain(error), icon=":material/error:")
        _table(table, varied)
        return
    points = points.assign(
        line=points[varied].astype(str).agg(", ".join, axis=1),
        spread=points["standard deviation"],
        mark=[sparsity if ":" in sparsity else "" for sparsity in points.sparsity],
        told=[f"achieved {achieved:.2%}" for achieved in points.achieved],
        run=[of_point[0] for of_point in points.runs],
    )
    dense = {f"dense {model}": value for model, value in table.groupby("model")["dense perplexity"].first().items()}
    literature = _published(runs)
    plot.show(
        curves(points, _styles(points), dense, literature),
        "curves",
        alt=_alt(points, dense),
        on_select=_select,
        selection_mode="points",
    )
    st.caption(
        f"{measured_on(runs)} Open marks are N:M patterns; bars are the standard deviation over seeds. Click a point to select "
        "its run on every page."
    )
    if broken := points.perplexity.map(math.isinf).sum():
        st.warning(
            f"{broken} points have an infinite perplexity: these models are broken. They are in the table, not on the chart.",
            icon=":material/warning:",
        )
    if literature is not None:
        _against(runs, literature)
    _table(table, varied)


def _published(runs: list[Run]) -> pd.DataFrame | None:
    """What others published, where it is wanted: of these models at first, else of those that are chosen."""
    if not st.toggle(
        "Published results",
        key="published",
        bind="query-params",
        help="Perplexities from the research programs' own pages, on WikiText-2. Drawn hollow and grey: other models, texts and "
        "windows than yours unless the table says otherwise.",
    ):
        return None
    every = published_table()
    mine = {name for run in runs for name in published_table(run.config.model).model}
    models = list(dict.fromkeys(every.model))
    chosen = st.multiselect(
        "Published for", models, default=sorted(mine) or models[:1], key="published_models", bind="query-params"
    )
    found = every[every.model.isin(chosen)]
    words = found.model + ", " + found.method + " " + found.sparsity + " (" + found.corpus + "), " + found.source
    return found.assign(label=words, target=found.target.where(found.method != "Dense", 0.0))


def _against(runs: list[Run], literature: pd.DataFrame) -> None:
    """The published figures, and how far runs of the same thing are from them."""
    rows = [
        {
            "run": run.name,
            "published for": one.result.model,
            "perplexity": one.perplexity,
            "published": one.result.value,
            "difference": one.difference,
            "source": one.source.title,
            "its conditions": one.source.conditions,
        }
        for run in runs
        for one in against_published(run)
    ]
    if rows:
        st.dataframe(
            pd.DataFrame(rows).drop_duplicates(),
            hide_index=True,
            column_config={
                name: st.column_config.NumberColumn(name, format=form)
                for name, form in {"perplexity": "%.2f", "published": "%.2f", "difference": "%+.2f"}.items()
            },
        )
    else:
        st.caption("None of these runs is of a model, method, sparsity and text for which something was published.")
    with st.expander("What was published, and where"):
        st.dataframe(literature.drop(columns=["label", "printed", "pattern"]), hide_index=True)


def _select() -> None:
    if run_id := clicked_run(st.session_state["curves"]):
        state.choose_run(run_id)


def _own_columns(table: pd.DataFrame) -> list[str]:
    """The sweep's own axes among the columns: those between the stages and the seed."""
    columns = list(table.columns)
    return columns[columns.index("stages") + 1 : columns.index("seed")]


def _one_evaluation(runs: list[Run], table: pd.DataFrame) -> tuple[list[Run], pd.DataFrame]:
    """Perplexities on different texts are different quantities: where there are several, one is chosen."""
    texts = _texts(runs)
    several = list(dict.fromkeys(texts))
    if len(several) == 1:
        return runs, table
    chosen = st.selectbox("Measured on", several, key="measured_on", bind="query-params")
    kept = [text == chosen for text in texts]
    return [run for run, keep in zip(runs, kept, strict=True) if keep], table[kept].reset_index(drop=True)


def _texts(runs: list[Run]) -> list[str]:
    """What each run was measured on; texts of the same name that are not the same are told apart."""
    named = [(run.result.evaluated_on if run.result else "", measured_text(run)) for run in runs]
    same_name = Counter(name for name, _ in set(named))
    return [f"{name} ({key})" if same_name[name] > 1 else name for name, key in named]


def _styles(points: pd.DataFrame) -> dict[str, Style]:
    """A line's colour and symbol are its method's, on every chart; its dash tells the variants of a method apart."""
    titles = sorted((cls.title for cls in Method.registry.classes()), key=len, reverse=True)
    order = [cls.title for cls in Method.registry.classes()]
    variants: dict[str, int] = {}
    styles = {}
    for line, method in points[["line", "method"]].drop_duplicates("line").itertuples(index=False):
        title = next((title for title in titles if method.startswith(title)), method)
        variants[title] = variants.get(title, -1) + 1
        styles[line] = Style.of(order.index(title) if title in order else len(order), variants[title])
    return styles


def _alt(points: pd.DataFrame, dense: dict[str, float]) -> str:
    lines = [
        f"{line}: {', '.join(f'{point.perplexity:.1f} at {point.target:.0%}' for point in of.itertuples())}"
        for line, of in points.groupby("line", sort=False)
    ]
    floors = ", ".join(f"{name} {value:.1f}" for name, value in dense.items())
    return f"Perplexity over sparsity. {'; '.join(lines)}. {floors}."


def _table(table: pd.DataFrame, varied: list[str]) -> None:
    shown = table.drop(columns=["recipe"])
    usual = ["method", "sparsity", "perplexity", "standard error", "dense perplexity", "achieved", "mean error"]
    seeds = ["seed"] if table.seed.nunique() > 1 else []
    st.dataframe(
        shown,
        hide_index=True,
        column_order=list(
            dict.fromkeys([*varied, *usual[:2], *seeds, *usual[2:], "pruning seconds", "seconds", "run"])
        ),
        column_config={
            "achieved": st.column_config.NumberColumn("achieved", format="percent"),
            "perplexity": st.column_config.NumberColumn("perplexity", format="%.2f"),
            "standard error": st.column_config.NumberColumn(
                "± error", format="%.2f", help="Standard error over the evaluation windows."
            ),
            "dense perplexity": st.column_config.NumberColumn("dense", format="%.2f"),
            "mean error": st.column_config.NumberColumn(
                "mean error", format="%.4f", help="Mean reconstruction error of the modules."
            ),
            "pruning seconds": st.column_config.NumberColumn("pruning, s", format="%.1f"),
            "seconds": st.column_config.NumberColumn("in all, s", format="%.1f"),
        },
    )
    st.download_button(
        "Table (CSV)",
        shown.to_csv(index=False),
        "curves.csv",
        "text/csv",
        icon=":material/download:",
        on_click="ignore",
    )


render()
