"""What changed between these two?"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import streamlit as st

from core.difference import config_difference, figure_difference, same_model, same_text
from core.store import Run
from dashboard.components import cache, first_run, grid, prompting, report, state, token_text, zero_shot
from dashboard.components.charts.grid import Quantity

_OVERLAP = Quantity("overlap", "Overlap of keep masks", ".1%", low=0.0, high=1.0, tick=".0%")


def render() -> None:
    st.title("What changed between these two?")
    selection = state.sidebar()
    cache.start_worker()
    a = selection.run
    if a is None or a.result is None:
        first_run.empty("Choose a finished run in the sidebar: it is the first of the two (A).")
        return
    b = state.other_run(a)
    if b is None:
        first_run.empty("There must be another finished run to compare with (B).")
        return
    st.caption(f"**A** {a.name} · run `{a.id}`   **B** {b.name} · run `{b.id}`")
    with st.container(horizontal=True):
        st.download_button(
            "Report (HTML)", lambda: report.of_two(a, b), f"{a.id}-{b.id}.html", "text/html",
            icon=":material/description:", on_click="ignore",
            help="Configurations, figures, charts and tables of both in one file that opens without this program or a network.",
        )  # fmt: skip
        st.download_button(
            "Comparison (JSON)", lambda: report.two_in_full(a, b), f"{a.id}-{b.id}.json", "application/json",
            icon=":material/download:", on_click="ignore",
        )  # fmt: skip
    _configs(a, b)
    _figures(a, b)
    _masks(a, b, selection)
    st.subheader("Where in the text?", divider="gray")
    token_text.show(a, b)
    st.subheader("The same prompt", divider="gray")
    prompting.show(a, b)
    st.subheader("Zero-shot tasks", divider="gray")
    zero_shot.show(a, b)


def _configs(a: Run, b: Run) -> None:
    st.subheader("Configuration", divider="gray")
    different = config_difference(a, b)
    if different.empty:
        st.caption("The configurations are the same.")
        return
    shown = different.assign(a=different.a.map(_plain), b=different.b.map(_plain))
    st.dataframe(shown, hide_index=True, column_config={"path": "Setting", "a": "A", "b": "B"})


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _figures(a: Run, b: Run) -> None:
    st.subheader("Figures", divider="gray")
    found = figure_difference(a, b)
    st.dataframe(
        found.assign(
            difference=[_signed(*row) for row in found[["difference", "standard error"]].itertuples(index=False)]
        )[["figure", "a", "b", "difference"]],
        hide_index=True,
        column_config={
            "figure": "Figure",
            "a": st.column_config.NumberColumn("A", format="%.5g"),
            "b": st.column_config.NumberColumn("B", format="%.5g"),
            "difference": st.column_config.TextColumn(
                "B − A", help="± its standard error, where both read the same windows."
            ),
        },
    )
    texts = {run.result.evaluated_on for run in (a, b) if run.result}
    if len(texts) > 1:
        _not_comparable(f"Measured on different texts ({' and '.join(sorted(texts))})")
    elif not same_text(a, b):
        _not_comparable(f"{texts.pop()}: the two texts of this name are not the same")
    elif same_model(a, b):
        st.caption(f"Both measured on {texts.pop()}. The loss is compared window by window.")
    else:
        st.caption(
            f"Both measured on {texts.pop()}. The models differ; where their tokenizers do too, the windows are not the same "
            "words, and perplexities of unlike tokens cannot be compared."
        )


def _not_comparable(why: str) -> None:
    st.warning(f"{why}: the perplexities cannot be compared.", icon=":material/warning:")


def _signed(difference: float, error: float) -> str:
    if pd.isna(difference):
        return "–"
    return f"{difference:+.4g}" if pd.isna(error) else f"{difference:+.4g} ± {error:.2g}"


def _masks(a: Run, b: Run, selection: state.Selection) -> None:
    st.subheader("Do the same weights survive?", divider="gray")
    table = cache.module_difference(a, b)
    known = table.dropna(subset=["overlap"])
    if known.empty:
        st.info("No module has a mask of the same shape in both runs.", icon=":material/info:")
        return
    both, either = known.both.sum(), known.either.sum()
    chance = (known["by chance"] * known.parameters).sum() / known.parameters.sum()
    grid.show(
        known,
        _OVERLAP,
        selection,
        "overlap_grid",
        f"Weights kept by both as a share of those kept by either (Jaccard); over the model {both / either:.1%}, where masks that "
        f"know nothing of each other would have about {chance:.1%}. Click a cell to select the module on every page.",
    )
    st.download_button(
        "Modules of both (CSV)", table.to_csv(index=False), f"{a.id}-{b.id}.csv", "text/csv",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip


render()
