"""What is selected, on every page and in the URL: a run, and one module of it (block and label)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from core.profile import ModelProfile
from core.store import Run
from core.store.sweep_records import SweepRecord
from dashboard.components import cache, text

ANY = "all"
"""Stands where a sweep's id would, for all finished runs."""
_PLACE = ("output", "input")
_MARKS = {
    "queued": "⏳ queued",
    "running": "▶ running",
    "finished": "✓",
    "failed": "✗ failed",
    "cancelled": "– cancelled",
    "interrupted": "⚠ interrupted",
}


@dataclass(frozen=True)
class Selection:
    """The selected run, if any, and the block and label of the selected module."""

    run: Run | None
    block: int | None
    label: str | None


def select_run(run_id: str | None) -> None:
    """Selects a run, and reruns."""
    _selected()["run"] = run_id
    st.rerun(scope="app")


def select_sweep(sweep_id: str) -> None:
    """Selects a sweep, and reruns."""
    _selected()["sweep"] = sweep_id
    st.rerun(scope="app")


def sweep_choice(records: Sequence[SweepRecord]) -> SweepRecord | None:
    """The choice of a sweep, the latest at first; None stands for no sweep in particular."""
    named = {record.id: record for record in records}
    chosen = _selected()
    if chosen["sweep"] is None and "sweep" not in st.query_params:
        chosen["sweep"] = next(iter(named), ANY)
    elif chosen["sweep"] not in (*named, ANY):
        st.warning(
            f"The sweep {chosen['sweep']} does not exist here; it may have been deleted. Choose another.",
            icon=":material/link_off:",
        )
        chosen["sweep"] = ANY
    sweep_id = _choice(
        "Show",
        "sweep",
        [*named, ANY],
        format_func=lambda sweep_id: sweep_title(named[sweep_id]) if sweep_id in named else "All finished runs",
        help="A sweep with its points, or everything that was ever run. It is part of the address: copy the link to share it.",
    )
    return named.get(sweep_id)


def sweep_title(record: SweepRecord) -> str:
    return f"{record.name} · {record.sweep.base.model.label} · {text.when(record.created_at)}"


def choose_run(run_id: str) -> None:
    """Selects a run; to be called from a callback, before the sidebar is drawn."""
    _selected()["run"] = run_id


def other_run(first: Run) -> Run | None:
    """The choice of a finished run to hold against the selected one; the latest other at first."""
    runs = {run.id: run for run in cache.store().runs() if run.result is not None and run.id != first.id}
    if _selected()["with"] not in runs:
        _selected()["with"] = next(iter(runs), None)
    run_id = _choice(
        "Compare it with",
        "with",
        list(runs),
        index=None,
        format_func=lambda run_id: title(runs[run_id]),
        placeholder="Choose a run" if runs else "No other finished run yet",
        help="The second run (B). The first (A) is the one in the sidebar. Both are part of the address.",
    )
    return runs.get(run_id) if run_id else None


def place(shape: tuple[int, int], default: tuple[int, int]) -> tuple[int, int]:
    """The choice of a weight of a matrix of this shape, by output and input; ``default`` at first."""
    numbers = []
    for key, size, first, column in zip(_PLACE, shape, default, st.columns(2), strict=True):
        chosen = _selected()[key]
        number = int(chosen) if str(chosen).isdecimal() and int(chosen) < size else None
        if (
            isinstance(chosen, str) and number is None
        ):  # out of a link; what was clicked in a larger module is no mistake
            st.warning(
                f"{key} = {chosen} does not lie in this module, whose {key}s are 0 to {size - 1}; shown is {first}.",
                icon=":material/link_off:",
            )
        st.session_state[key] = _selected()[key] = first if number is None else number
        with column:
            value = st.number_input(
                f"{key.capitalize()} (0 to {size - 1})",
                0,
                size - 1,
                key=key,
                on_change=lambda key=key: _selected().update({key: st.session_state[key]}),
            )
        numbers.append(value)
        if st.query_params.get(key) != str(value):
            st.query_params[key] = str(value)
    return numbers[0], numbers[1]


def select_place(output: int, input: int) -> None:
    """Selects a weight; to be called from a callback."""
    _selected().update(zip(_PLACE, (output, input), strict=True))


def open_run(run_id: str, page: str) -> None:
    """Selects a run and goes to a page that shows it."""
    _selected()["run"] = run_id
    _go(page)


def _go(page: str) -> None:
    # An empty address: without one, Streamlit refuses to leave a page whose widgets stand in the address.
    st.switch_page(page, query_params={})


def open_pair(run_id: str, other_id: str, page: str) -> None:
    """Selects two runs and goes to a page that holds them against each other."""
    _selected().update({"run": run_id, "with": other_id})
    _go(page)


def open_sweep(sweep_id: str, page: str) -> None:
    """Selects a sweep and goes to a page that shows it."""
    _selected()["sweep"] = sweep_id
    _go(page)


def forget_runs(run_ids: Collection[str]) -> None:
    """Reruns after runs were deleted, none of them selected any more."""
    for key in ("run", "with"):
        if _selected()[key] in run_ids:
            _selected()[key] = None
    st.rerun(scope="app")


def tour_step(first_start: Callable[[], bool]) -> int | None:
    """The step of the tour that this session is at; None where it is not on it. It begins by itself at the first start."""
    if "_tour" not in st.session_state:
        st.session_state["_tour"] = 0 if first_start() else None
    step: int | None = st.session_state["_tour"]
    return step


def go_on_tour(step: int, page: str) -> None:
    """Goes to a step and to the page it is about."""
    st.session_state["_tour"] = step
    _go(page)


def follow_tour(step: int) -> None:
    """Goes to a step whose page is open already."""
    st.session_state["_tour"] = step


def end_tour() -> None:
    st.session_state["_tour"] = None
    st.rerun(scope="app")


def select_module(block: int, label: str) -> None:
    """Selects a module; to be called from a callback, before the sidebar is drawn."""
    _selected().update(block=block, module=label)


def sidebar(profile_of: Callable[[Run | None], ModelProfile | None] = lambda run: None) -> Selection:
    """Draws the shared selection and returns it; says so where a link names what does not exist.

    ``profile_of``: gives the modules to choose from where no run has finished.
    """
    runs = {run.id: run for run in cache.store().runs()}
    if "_selected" not in st.session_state and "run" not in st.query_params:
        _selected()["run"] = next(iter(runs), None)
    _forget_lost_run(runs)
    with st.sidebar:
        run_id = _choice(
            "Run",
            "run",
            list(runs),
            index=None,
            format_func=lambda run_id: title(runs[run_id]) if run_id in runs else run_id,
            placeholder="Choose a run" if runs else "No run yet",
            help="The run that all pages show. It is part of the address: copy the link to share it.",
        )
        run = runs.get(run_id) if run_id else None
        block, label = _module_choice(run, profile_of)
        if run is not None:
            _summary(run)
    return Selection(run, block, label)


def _selected() -> dict[str, Any]:
    """What this session has selected, kept apart from the widgets, whose state ends with their page.

    Widgets could be bound to the address instead, but a bound select box writes what it shows, and a run's line there
    changes with its status.
    """
    if "_selected" not in st.session_state:
        address = st.query_params
        block = address.get("block", "")
        st.session_state["_selected"] = {
            "run": address.get("run"),
            "block": int(block) if block.isdecimal() else None,
            "module": address.get("module"),
            "sweep": address.get("sweep"),
            "with": address.get("with"),
            **{key: address.get(key) for key in _PLACE},
        }
    selected: dict[str, Any] = st.session_state["_selected"]
    return selected


def _choice(label: str, key: str, options: list[Any], **widget: Any) -> Any:
    """A select box on one of the selected things; it keeps selection and address true to what it shows."""
    if _selected()[key] in options:
        st.session_state[key] = _selected()[key]
    else:
        st.session_state.pop(key, None)
    value = st.selectbox(
        label, options, key=key, on_change=lambda: _selected().update({key: st.session_state[key]}), **widget
    )
    _selected()[key] = value
    if value is None:
        st.query_params.pop(key, None)
    elif st.query_params.get(key) != str(value):
        st.query_params[key] = str(value)
    return value


def _forget_lost_run(runs: dict[str, Run]) -> None:
    lost = _selected()["run"]
    if lost is not None and lost not in runs:
        _selected()["run"] = None
        st.warning(
            f"The run {lost} does not exist here; it may have been deleted. Choose another run in the sidebar.",
            icon=":material/link_off:",
        )


def _module_choice(
    run: Run | None, profile_of: Callable[[Run | None], ModelProfile | None]
) -> tuple[int | None, str | None]:
    if run is not None and run.result is not None:
        table = cache.modules(run)
        blocks, labels = sorted(table.block.unique().tolist()), table.label.unique().tolist()
    elif profile := profile_of(run):
        blocks, labels = list(range(profile.blocks)), profile.labels
    else:
        return None, None
    left, right = st.columns([1, 2])
    with left:
        block = _choice("Block", "block", blocks)
    with right:
        label = _choice("Module", "module", labels)
    return block, label


def title(run: Run) -> str:
    """A run in a list: what, on which model, when, how it stands."""
    return f"{run.name} · {run.config.model.label} · {text.when(run.attempt.submitted_at)} {_MARKS[run.status]}"


def _summary(run: Run) -> None:
    config = run.config
    st.caption(
        f"**{config.model.label}** · {config.method.title} · {config.pattern.label} · "
        f"{text.percent(config.sparsity)} · {config.allocation.title} allocation · run `{run.id}`"
    )
