"""Zero-shot accuracy of the dense model and two runs, side by side with standard errors."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import streamlit as st

from core.difference import same_model
from core.errors import InputError, explain
from core.evaluation.accuracy import Accuracies, accuracy_table
from core.evaluation.tasks import TASKS
from core.evaluation.zero_shot import TaskChoice, why_not
from core.store import Run
from dashboard.components import cache, measuring


def show(a: Run, b: Run) -> None:
    """The table of what is known; offers to ask what is not."""
    if reason := why_not():
        st.info(reason, icon=":material/info:")
        return
    if not st.toggle(
        "Answer zero-shot tasks",
        key="zero_shot",
        bind="query-params",
        help="The tasks' data sets come from the hub, or from a folder; they are looked up as soon as this is on.",
    ):
        return
    choice = _choice()
    try:
        wanted = {"A": cache.zero_shot(a, choice), "B": cache.zero_shot(b, choice)}
    except InputError as error:
        st.error(explain(error), icon=":material/error:")
        return
    wanted = {"dense" if same_model(a, b) else "dense (A's model)": wanted["A"].dense} | wanted
    found = {name: one.found(cache.store()) for name, one in wanted.items()}
    _table(found)
    if unknown := [one for one in wanted.values() if not one.known(cache.store())]:
        asked = len(unknown[0].choice.tasks)
        why = f"{asked} tasks are asked of {len(unknown)} models; each task is kept when it is done."
        measuring.offer_all(unknown, "Ask the tasks", why, "tasks")


def _choice() -> TaskChoice:
    left, middle, right = st.columns([3, 1, 2])
    with left:
        tasks = st.multiselect(
            "Tasks",
            list(TASKS),
            format_func=lambda name: TASKS[name].title,
            key="tasks",
            bind="query-params",
            placeholder="All that there are",
        )
    fields = TaskChoice.model_fields
    with middle:
        limit = st.number_input(
            "Documents", 0, None, 100, key="tasks_limit", bind="query-params", help=fields["limit"].description
        )
    with right:
        folder = st.text_input("Folder", "", key="tasks_folder", bind="query-params", help=fields["folder"].description)
    return TaskChoice.model_validate({"tasks": tasks, "limit": limit, "folder": folder.strip()})


def _table(found: Mapping[str, Accuracies]) -> None:
    table = accuracy_table(found)
    if table.empty:
        return
    wide = table.assign(shown=[_words(row.accuracy, row.standard_error) for row in table.itertuples()]).pivot_table(
        index="task", columns="weights", values="shown", aggfunc="first", sort=False
    )
    documents = table.groupby("task", sort=False)["documents"].first()
    st.dataframe(wide.assign(documents=documents).reset_index(), hide_index=True)
    st.caption("Accuracy ± standard error over the documents, in percent, by lm-evaluation-harness.")
    st.download_button(
        "Zero-shot table (CSV)", table.to_csv(index=False), "zero-shot.csv", "text/csv",
        icon=":material/download:", on_click="ignore",
    )  # fmt: skip


def _words(accuracy: float, error: float) -> str:
    return f"{100 * accuracy:.1f}" if pd.isna(error) else f"{100 * accuracy:.1f} ± {100 * error:.1f}"
