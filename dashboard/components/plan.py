"""The plan of a run: its form, what it will cost, and the button that starts it."""

from __future__ import annotations

from typing import Any

import streamlit as st
from pydantic import ValidationError

from core.allocation import Allocation
from core.checks import check
from core.config import DEFAULT_SPARSITY, Calibration, Evaluation, RunConfig
from core.data import Corpus
from core.errors import InputError, explain
from core.estimate import Estimate, estimate, stored_speed
from core.methods import Method
from core.models.sources import ModelSource
from core.patterns import Pattern
from core.profile import ModelProfile
from core.stages import Stage
from core.store import Run
from dashboard.components import cache, forms, shell, state, text

_NM_HELP = (
    "N:M means that N of every M consecutive weights of a row SURVIVE: 1:4 is 75 % sparse, 3:4 is 25 %. "
    "Some programs read N as the number pruned; for 2:4 and 4:8 both mean the same."
)
_CORPORA, _ALSO = {"corpus", "also"}, "evaluation_also"


def form() -> RunConfig | None:
    """The form, out of the configs' own fields; None, with a sentence, where what it says cannot be."""
    values: dict[str, Any] = {}
    st.subheader("Model", divider="gray")
    values["model"] = forms.component(ModelSource, "source", "Where from", "embedded")
    st.subheader("Pruning", divider="gray")
    values["method"] = forms.component(Method, "method", "Method", "wanda")
    values["pattern"] = forms.component(Pattern, "pattern", "Pattern", "unstructured", help=_NM_HELP)
    values["sparsity"] = _sparsity(values["pattern"])
    values["allocation"] = forms.component(Allocation, "allocation", "Layer-wise allocation", "uniform")
    values["stages"] = forms.components(
        Stage, "stage", "Stages", help="Steps beside the method; they run in the order in which they are listed."
    )
    st.subheader("Text", divider="gray")
    with st.expander("Calibration: the text that guides the pruning"):
        values["calibration"] = text_section(Calibration, "calibration")
    with st.expander("Evaluation: the text that perplexity is measured on"):
        values["evaluation"] = text_section(Evaluation, "evaluation") | {"also": _further()}
    try:
        return RunConfig.model_validate(values)
    except (ValidationError, InputError) as error:
        st.error(explain(error), icon=":material/error:")
        return None


def address(config: RunConfig) -> dict[str, Any]:
    """The query parameters with which the Prune page's form comes up with this config."""
    query = forms.address(config.model, "source")
    for key, part in (("method", config.method), ("pattern", config.pattern), ("allocation", config.allocation)):
        query |= forms.address(part, key)
    if config.pattern.sparsity is None:
        query["sparsity"] = repr(config.sparsity)
    query |= forms.addresses(config.stages, "stage")
    for key, section in (("calibration", config.calibration), ("evaluation", config.evaluation)):
        query |= forms.address(section.corpus, f"{key}_corpus") | forms.fields_address(section, key, skip=_CORPORA)
    return query | forms.addresses(config.evaluation.also, _ALSO)


def open_form(config: RunConfig) -> None:
    """Goes to the Prune page, whose form then shows this config."""
    for key, section in (("calibration", config.calibration), ("evaluation", config.evaluation)):
        st.session_state.update(forms.long_texts([section.corpus], f"{key}_corpus"))
    st.session_state.update(forms.long_texts(config.evaluation.also, _ALSO))
    st.switch_page(shell.PRUNE, query_params=address(config))


def _sparsity(pattern: dict[str, Any]) -> float | None:
    """The slider, or the sparsity that the pattern fixes."""
    try:
        fixed = Pattern.coerce(pattern).sparsity
    except ValidationError:
        return None  # the form says why
    if fixed is not None:
        st.caption(f"This pattern prunes {text.percent(fixed)} of the weights.")
        return None
    return float(
        st.slider(
            "Sparsity",
            0.0,
            0.99,
            DEFAULT_SPARSITY,
            0.01,
            format="percent",
            key="sparsity",
            bind="query-params",
            help="Fraction of each module's weights that is pruned.",
        )
    )


def text_section(section: type[Calibration] | type[Evaluation], key: str) -> dict[str, Any]:
    """A corpus and how its windows are cut; the JSON form of the section."""
    corpus = forms.component(Corpus, f"{key}_corpus", "Corpus", "embedded")
    return {"corpus": corpus, **forms.fields(section, key, skip=_CORPORA)}


def _further() -> list[dict[str, Any]]:
    info = Evaluation.model_fields["also"]
    return forms.components(Corpus, _ALSO, str(info.title), help=info.description, repeated=True)


def before(config: RunConfig, shown: Run | None) -> None:
    """What the run will do and cost, and the button that starts it; or one sentence why it cannot start."""
    try:
        profile = cache.profile(config.model)
        check(config, profile)
        run_id = cache.identity(config).run_id(config)
    except InputError as error:
        st.error(explain(error), icon=":material/error:")
        st.button("Start", disabled=True, type="primary", icon=":material/play_arrow:", width="stretch")
        return
    runs = {run.id: run for run in cache.store().runs()}
    _cost(config, profile, list(runs.values()))
    _start(config, runs.get(run_id), shown)


def _cost(config: RunConfig, profile: ModelProfile, runs: list[Run]) -> None:
    speed = stored_speed(cache.store())
    with st.container(horizontal=True):
        st.metric(
            "Modules",
            f"{len(profile.modules)}",
            help=f"Linear maps in {profile.blocks} decoder blocks.",
            width="content",
        )
        st.metric(
            "Weights to prune",
            text.count(profile.prunable * config.sparsity),
            help=f"Of {text.count(profile.prunable)} prunable ones; the model has {text.count(profile.parameters)} parameters. "
            "Embeddings and the head are not pruned.",
            width="content",
        )
        if speed is None:
            _await_speed()
            return
        cost = predicted(config, profile, runs, speed)
        basis = (
            f"scaled by {cost.from_runs} earlier runs"
            if cost.from_runs
            else "from this machine's speed; runs will sharpen it"
        )
        st.metric("Time, about", text.about(cost.seconds), help=f"Predicted, {basis}.", width="content")
        st.metric(
            "Memory, about",
            text.size(cost.memory),
            help="Predicted peak for weights and activations.",
            width="content",
        )


@st.fragment(run_every=1.0)
def _await_speed() -> None:
    """Stands where the time will be, and reruns the page once the worker has measured this machine."""
    if stored_speed(cache.store()) is not None:
        st.rerun(scope="app")
    st.metric(
        "Time, about",
        "…",
        help="The worker is starting and measuring this machine; it takes some seconds.",
        width="content",
    )


def predicted(config: RunConfig, profile: ModelProfile, runs: list[Run], speed: float) -> Estimate:
    """The run's cost; what an earlier run has measured already is free."""
    alike = [run.config.evaluation for run in runs if run.result and run.config.model == config.model]
    dense_known = all(any(text in _texts(evaluation) for evaluation in alike) for text in _texts(config.evaluation))
    return estimate(config, profile, speed, runs, dense_known, cache.measured(config) is not None)


def _texts(evaluation: Evaluation) -> list[tuple[Corpus, int | None, int]]:
    """What is measured, without how."""
    return [(corpus, evaluation.windows, evaluation.seqlen) for corpus in (evaluation.corpus, *evaluation.also)]


def _start(config: RunConfig, same: Run | None, shown: Run | None) -> None:
    """The button; where this very run exists already it says so, and shows or repeats it."""
    under_way = same is not None and same.attempt.active
    done = same is not None and same.result is not None
    if same is not None and (under_way or done) and (shown is None or shown.id != same.id):
        st.info(f"This very run {'is under way' if under_way else 'was done before'}.", icon=":material/info:")
        if st.button("Show it", icon=":material/visibility:"):
            state.select_run(same.id)
    ahead = len(cache.store().active())
    if ahead and not under_way:
        st.caption(f"{ahead} job{'s' if ahead > 1 else ''} before it; it will wait its turn.")
    if st.button(
        "Repeat" if done else "Start",
        type="secondary" if done else "primary",
        disabled=under_way,
        icon=":material/replay:" if done else ":material/play_arrow:",
        width="stretch",
        help="This very run is under way." if under_way else None,
    ):
        try:
            attempt = cache.jobs().submit(config)
        except InputError as error:
            st.error(explain(error), icon=":material/error:")
        else:
            state.select_run(attempt.run_id)
