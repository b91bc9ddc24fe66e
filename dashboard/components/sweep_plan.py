"""The plan of a sweep: what is varied, how many runs that is, how long they take, and the button that starts them."""

from __future__ import annotations

from typing import Any

import streamlit as st
from pydantic import ValidationError

from core.allocation import Allocation
from core.config import Calibration, Evaluation, RunConfig
from core.errors import InputError, explain
from core.estimate import stored_speed
from core.methods import Method
from core.models.sources import ModelSource
from core.stages import Stage
from core.sweeps import Axis, LeftOut, Sweep
from core.sweeps.points import Point
from dashboard.components import cache, forms, plan, state, text

_METHODS = ("magnitude", "wanda", "sparsegpt")
_SPARSITIES = "30, 40, 50, 60, 70"


def form() -> None:
    """The builder; a started sweep is selected."""
    base, axes = _parts()
    try:
        if "sparsity" not in axes:
            raise InputError("Sparsities: none is given; write percentages such as 30, 50, 70, or an N:M pattern.")
        sweep = Sweep(
            base=RunConfig.model_validate(base), axes=tuple(Axis.of(path, *values) for path, values in axes.items())
        )
        points, left_out = cache.settled(sweep)
    except (ValidationError, InputError) as error:
        st.error(explain(error), icon=":material/error:")
        st.button("Start the sweep", disabled=True, type="primary", icon=":material/play_arrow:")
        return
    _cost(points)
    show_left_out(left_out)
    name = st.text_input("Name", "", key="sweep_name", placeholder=sweep.title, help="For the list of sweeps.").strip()
    if st.button("Start the sweep", type="primary", icon=":material/play_arrow:"):
        try:
            record = cache.jobs().sweep(sweep, name or None)
        except InputError as error:
            st.error(explain(error), icon=":material/error:")
        else:
            state.select_sweep(record.id)


def _parts() -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What the form says: the base's values, and the axes' by path."""
    left, right = st.columns(2, gap="large")
    with left:
        methods = forms.components(Method, "sweep_method", "Methods", default=_METHODS, brief=True)
        sparsities = st.text_input(
            "Sparsities, %", _SPARSITIES, key="sweep_sparsities", bind="query-params", help="Separated by commas."
        )
        patterns = st.text_input(
            "N:M patterns", "", key="sweep_patterns", bind="query-params", placeholder="2:4, 4:8",
            help="Beside the sparsities, separated by commas; N of every M consecutive weights survive.",
        )  # fmt: skip
        seeds = st.number_input(
            "Seeds", 1, 20, 1, key="sweep_seeds", bind="query-params",
            help="Each point is run with so many draws of the calibration windows; their spread becomes an error bar.",
        )  # fmt: skip
    with right:
        allocations = forms.components(Allocation, "sweep_allocation", "Allocations", default=("uniform",), brief=True)
        stages = forms.components(
            Stage, "sweep_stage", "Stages", brief=True, help="Every method is run without, and with each of these."
        )
        model = forms.component(ModelSource, "sweep_source", "Model", "embedded")
        with st.expander("Calibration: the text that guides the pruning"):
            calibration = plan.text_section(Calibration, "sweep_calibration")
        with st.expander("Evaluation: the text that perplexity is measured on"):
            evaluation = plan.text_section(Evaluation, "sweep_evaluation")
    base = {"model": model, "calibration": calibration, "evaluation": evaluation}
    first = int(calibration["seed"])
    axes: dict[str, list[Any]] = {
        "method": methods,
        "sparsity": [*_numbers(sparsities), *_words(patterns)],
        "allocation": allocations,
        "stages": [[], *([stage] for stage in stages)] if stages else [],
        "calibration.seed": [first + number for number in range(int(seeds))] if seeds > 1 else [],
    }
    return base, {path: values for path, values in axes.items() if values}


def _words(listed: str) -> list[str]:
    return [word.strip() for word in listed.split(",") if word.strip()]


def _numbers(percents: str) -> list[float]:
    """Raises nothing: what is no number is left as it is, for the sweep to name."""
    return [_share(word.removesuffix("%").strip()) for word in _words(percents)]


def _share(percent: str) -> Any:
    try:
        return round(float(percent) / 100, 10)
    except ValueError:
        return percent


def _cost(points: list[Point]) -> None:
    runs = {run.id: run for run in cache.store().runs()}
    new = [point for point in points if (run := runs.get(point.run_id)) is None or run.result is None]
    speed = stored_speed(cache.store())
    with st.container(horizontal=True):
        st.metric("Runs", f"{len(points)}", width="content", help="Each is a run of its own, and stays one.")
        st.metric("Done already", f"{len(points) - len(new)}", width="content", help="They are not run again.")
        if speed is None:
            st.metric(
                "Time, about", "…", width="content", help="The worker is measuring this machine; look again soon."
            )
            return
        history = list(runs.values())
        seconds = sum(
            plan.predicted(point.config, cache.profile(point.config.model), history, speed).seconds for point in new
        )
        st.metric("Time, about", text.about(seconds) if new else "none", width="content")


def show_left_out(left_out: list[LeftOut]) -> None:
    """What does not go together, and why; one line a reason."""
    if not left_out:
        return
    reasons: dict[str, list[LeftOut]] = {}
    for one in left_out:
        reasons.setdefault(one.reason, []).append(one)
    with st.expander(f"{len(left_out)} combinations are left out"):
        for reason, ones in reasons.items():
            st.markdown(f"- {len(ones)} ×: {reason}")
