"""The only place where Streamlit caches anything; nothing cached here is ever mutated."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
import streamlit as st

from core.config import Identity, RunConfig, identify
from core.errors import InputError
from core.evaluation.tasks import TaskName
from core.evaluation.zero_shot import TaskChoice, harness_version
from core.measured import measured_values
from core.measurements import Measurement
from core.measurements.allocation import AllocationBasis
from core.measurements.spectra import Spectra
from core.measurements.zero_shot import ZeroShot
from core.models.profiles import stored_profile
from core.models.sources import ModelSource
from core.profile import ModelProfile
from core.search.records import FILE, SearchRecord
from core.store import Run, Store
from core.sweeps import LeftOut, Sweep
from core.sweeps.points import Point, settle

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from transformers import PreTrainedTokenizerBase

    from core.difference import Overlap
    from core.jobs import Jobs
    from core.measurements.scores import Scores
    from core.module_scores import ModuleScores
    from core.scoring.aggregate import Aggregated, Window
    from core.scoring.weight import Place
    from core.spectra.likelihood import Comparison


@st.cache_resource(show_spinner=False)
def store() -> Store:
    opened = Store.open()
    opened.reconcile()
    return opened


@st.cache_resource(show_spinner=False)
def _starting_jobs() -> Future[Jobs]:
    """The worker takes seconds to start, so it starts beside the first page instead of before it."""

    def start() -> Jobs:
        from core.jobs import Jobs

        return Jobs(opened)

    opened = store()
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="start-jobs").submit(start)


def start_worker() -> None:
    """Starts the worker, if it is not running yet, without waiting for it."""
    _starting_jobs()


def started_jobs() -> Jobs | None:
    """The jobs, or None while the worker is still starting."""
    starting = _starting_jobs()
    return starting.result() if starting.done() else None


def jobs() -> Jobs:
    """The jobs, waiting for the worker if it is still starting."""
    starting = _starting_jobs()
    if starting.done():
        return starting.result()
    with st.spinner("Starting the worker …"):
        return starting.result()


def profile(source: ModelSource) -> ModelProfile:
    """What can be pruned in a model. Raises InputError where the model cannot be found."""
    found = _profile(source.canonical())
    if isinstance(found, str):
        raise InputError(found)
    return found


@st.cache_data(ttl=60, max_entries=32, show_spinner="Looking up the model …")
def _profile(source: str) -> ModelProfile | str:
    """The profile, or why there is none; asked at most once a minute, since the answer may come from the hub."""
    model = ModelSource.coerce(json.loads(source))
    try:
        return stored_profile(model, store()) or jobs().profile(model)
    except InputError as error:
        return str(error)


def identity(config: RunConfig) -> Identity:
    """What the config's words stand for now. Raises InputError where a model or text cannot be found."""
    found = _identity(config.canonical())
    if isinstance(found, str):
        raise InputError(found)
    return found


@st.cache_data(ttl=10, max_entries=64, show_spinner=False)
def _identity(config: str) -> Identity | str:
    try:
        return identify(RunConfig.model_validate_json(config))
    except InputError as error:
        return str(error)


def settled(sweep: Sweep) -> tuple[list[Point], list[LeftOut]]:
    """A sweep's points as they stand now, and what is left out. Raises InputError where a model or text cannot be found."""
    found = _settled(sweep.canonical())
    if isinstance(found, str):
        raise InputError(found)
    return found


@st.cache_data(ttl=10, max_entries=16, show_spinner="Looking up what the sweep needs …")
def _settled(sweep: str) -> tuple[list[Point], list[LeftOut]] | str:
    try:
        return settle(Sweep.model_validate_json(sweep), profile)
    except InputError as error:
        return str(error)


def spectra_table(spectra: Spectra, fit: str) -> pd.DataFrame:
    """The figures of every module's spectrum with this fit; the spectra must be known."""
    return _spectra_table(spectra.canonical(), fit)


@st.cache_data(max_entries=32, show_spinner=False)
def _spectra_table(spectra: str, fit: str) -> pd.DataFrame:
    return _spectra(spectra).table(store(), fit)


def eigenvalues(spectra: Spectra) -> dict[str, np.ndarray]:
    """Ascending eigenvalues by full module name; the spectra must be known."""
    return _eigenvalues(spectra.canonical())


@st.cache_data(max_entries=8, show_spinner=False)
def _eigenvalues(spectra: str) -> dict[str, np.ndarray]:
    return dict(_spectra(spectra).read(store()))


@st.cache_data(max_entries=64, show_spinner="Comparing …")
def tail_comparisons(spectra: str, module: str, fit: str) -> list[Comparison]:
    """The tail of a module (of the spectra with this canonical text) against other laws."""
    import torch

    from core.spectra.hill import Tail
    from core.spectra.likelihood import compare_tail

    table = _spectra_table(spectra, fit).set_index("module")
    row = table.loc[module]
    tail = Tail(row.alpha, row.D, row.xmin, int(row.tail_size))
    return compare_tail(torch.from_numpy(_eigenvalues(spectra)[module]), tail)


def _spectra(canonical: str) -> Spectra:
    spectra: Spectra = Measurement.coerce(json.loads(canonical))
    return spectra


def measured(config: RunConfig) -> dict[str, float | None] | None:
    """What the config's allocation rests on; None where it was not measured yet. Raises InputError for no such text."""
    relevant = AllocationBasis.relevant(config)
    try:
        return _measured(relevant.canonical(), identity(relevant).model_dump_json())
    except _NotMeasured:
        return None


class _NotMeasured(Exception):
    """Raised where there is nothing to cache yet."""


@st.cache_data(max_entries=64, show_spinner=False)
def _measured(config: str, identity: str) -> dict[str, float | None]:
    found = measured_values(RunConfig.model_validate_json(config), Identity.model_validate_json(identity), store())
    if found is None:
        raise _NotMeasured
    return found


def searches() -> list[SearchRecord]:
    """All searches for an allocation, the latest first; read again when their file has changed."""
    file = store().home / FILE
    return _searches(str(file.parent), file.stat().st_mtime_ns) if file.exists() else []


@st.cache_resource(max_entries=1, show_spinner=False)
def _searches(home: str, changed: int) -> list[SearchRecord]:
    from core.search.studies import known_searches

    return known_searches(Path(home))


def forget_measured() -> None:
    """After measurements were deleted: nothing of them is shown any more."""
    for cached in (_spectra_table, _eigenvalues, tail_comparisons, _measured):
        cached.clear()


def modules(run: Run) -> pd.DataFrame:
    """A finished run's table of modules."""
    return _modules(run.id, run.attempt.id)


@st.cache_data(max_entries=64, show_spinner=False)
def _modules(run_id: str, attempt_id: int) -> pd.DataFrame:
    return store().modules(run_id)


def groups(run: Run) -> pd.DataFrame:
    """What stages tell of the parts of a finished run's blocks; empty where they tell nothing."""
    return _groups(run.id, run.attempt.id)


@st.cache_data(max_entries=64, show_spinner=False)
def _groups(run_id: str, attempt_id: int) -> pd.DataFrame:
    return store().groups(run_id)


@st.cache_data(max_entries=64, show_spinner=False)
def _line_sparsity(run_id: str, attempt_id: int, module: str) -> tuple[np.ndarray, np.ndarray]:
    pruned = ~store().mask(run_id, module).numpy()
    return pruned.mean(axis=1), pruned.mean(axis=0)


def line_sparsity(run: Run, module: str) -> tuple[np.ndarray, np.ndarray]:
    """Share of weights the mask prunes in each row [out] and each column [in] of a module."""
    return _line_sparsity(run.id, run.attempt.id, module)


def structure(run: Run, n: int, m: int) -> pd.DataFrame:
    """A finished run's table of modules, with what its masks look like and their bytes in each form."""
    return _structure(run.id, run.attempt.id, n, m)


@st.cache_data(max_entries=16, show_spinner="Looking through the masks …")
def _structure(run_id: str, attempt_id: int, n: int, m: int) -> pd.DataFrame:
    from core.mask_structure import byte_forms, mask_structure

    run = store().run(run_id)
    assert run.result is not None
    orders = {module: order.numpy() for module, order in store().permutations(run_id).items()}
    looked = mask_structure(store().packed_masks(run_id), orders, n, m)
    table = store().modules(run_id).merge(looked, on="module", how="left")
    itemsize = run.result.dense_bytes // run.result.parameters
    return table.join(byte_forms(table, itemsize, n, m).add_prefix("bytes "))


def module_difference(a: Run, b: Run) -> pd.DataFrame:
    """How two finished runs differ, module by module."""
    return _module_difference(a.id, a.finished_attempt, b.id, b.finished_attempt)


@st.cache_data(max_entries=16, show_spinner="Comparing the masks …")
def _module_difference(a: str, a_attempt: int | None, b: str, b_attempt: int | None) -> pd.DataFrame:
    from core.difference import module_difference as difference

    return difference(store().run(a), store().run(b), store())


@st.cache_data(max_entries=64, show_spinner="Reading the text …")
def token_pieces(source: str, tokens: tuple[int, ...]) -> list[str]:
    """The text of each token, for the model with this canonical text."""
    from core.evaluation.token_text import pieces

    return pieces(tokens, _tokenizer(source))


@st.cache_resource(max_entries=4, show_spinner=False)
def _tokenizer(source: str) -> PreTrainedTokenizerBase:
    return ModelSource.coerce(json.loads(source)).load_tokenizer()


@st.cache_data(ttl=30, max_entries=32, show_spinner="Looking up the tasks …")
def _task_data(choice: str) -> tuple[str, dict[TaskName, str], str] | str:
    """The choice with all it leaves open, its documents and the harness's version; or why there is no such thing."""
    try:
        resolved = TaskChoice.model_validate_json(choice).resolved()
        return resolved.model_dump_json(), resolved.fingerprints(), harness_version()
    except InputError as error:
        return str(error)


def zero_shot(run: Run, choice: TaskChoice) -> ZeroShot:
    """The measurement of what a run left. Raises InputError where something that it needs is missing."""
    found = _task_data(choice.model_dump_json())
    if isinstance(found, str):
        raise InputError(found)
    text, data, harness = found
    return ZeroShot.of_run(run, choice=TaskChoice.model_validate_json(text), data=data, harness=harness)


def module_scores(run: Run, scores: Scores, module: str) -> ModuleScores:
    """A module's scores under a method, opened; they must be known, and nothing may be written into them."""
    return _module_scores(run.id, scores.canonical(), module)


@st.cache_resource(max_entries=4, show_spinner=False)
def _module_scores(run_id: str, scores: str, module: str) -> ModuleScores:
    from core.module_scores import open_scores

    return open_scores(Measurement.coerce(json.loads(scores)), store().run(run_id), module, store())


def score_map(run: Run, scores: Scores, module: str, window: Window, of: Literal["scores", "keep"]) -> Aggregated:
    """A window of a module's scores, or of its mask, as few cells; the scores must be known, and have values."""
    return _score_map(run.id, scores.canonical(), module, window, of)


@st.cache_data(max_entries=128, show_spinner=False)
def _score_map(run_id: str, scores: str, module: str, window: Window, of: str) -> Aggregated:
    from core.scoring.aggregate import aggregate

    found = _module_scores(run_id, scores, module)
    return aggregate(getattr(found, of), window)


def disagreement(run: Run, a: Scores, b: Scores, module: str, window: Window) -> Aggregated:
    """Where the masks of two methods are not the same, likewise."""
    return _disagreement(run.id, a.canonical(), b.canonical(), module, window)


@st.cache_data(max_entries=64, show_spinner=False)
def _disagreement(run_id: str, a: str, b: str, module: str, window: Window) -> Aggregated:
    from core.scoring.aggregate import aggregate

    return aggregate(_module_scores(run_id, a, module).keep != _module_scores(run_id, b, module).keep, window)


@st.cache_data(max_entries=64, show_spinner=False)
def _agreement(run_id: str, a: str, b: str, module: str) -> Overlap:
    from core.module_scores import agreement

    return agreement(_module_scores(run_id, a, module), _module_scores(run_id, b, module))


def agreement(run: Run, a: Scores, b: Scores, module: str) -> Overlap:
    """How far the masks of two methods agree; their scores must be known."""
    return _agreement(run.id, a.canonical(), b.canonical(), module)


@st.cache_data(max_entries=256, show_spinner=False)
def _place(run_id: str, scores: str, module: str, output: int, input_: int) -> Place | None:
    return _module_scores(run_id, scores, module).place(output, input_)


def place(run: Run, scores: Scores, module: str, output: int, input_: int) -> Place | None:
    """Where a weight's score stands among those it competes with; the scores must be known."""
    return _place(run.id, scores.canonical(), module, output, input_)


@st.cache_data(max_entries=64, show_spinner=False)
def _input_norm(run_id: str, attempt_id: int | None, block: int, module: str) -> np.ndarray:
    from core.module_scores import input_norm

    norm: np.ndarray = input_norm(store().run(run_id), block, module, store()).numpy().copy()
    return norm


def drawn(chart: partial[go.Figure], placed: Callable[[go.Figure, str], go.Figure], ink: str) -> go.Figure:
    """``chart()``, ``placed`` in the colour ``ink``; for the same arguments drawn once. Nothing may be written into it."""
    return _drawn(f"{chart.func.__module__}.{chart.func.__name__}", chart.args, chart.keywords, ink, chart, placed)


@st.cache_resource(max_entries=64, show_spinner=False)
def _drawn(
    name: str,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    ink: str,
    _chart: partial[go.Figure],
    _placed: Callable[[go.Figure, str], go.Figure],
) -> go.Figure:
    return _placed(_chart(), ink)


def input_norm(run: Run, block: int, module: str) -> np.ndarray:
    """The norm of each input [in] of a module as the run saw it; the scores of its block must be known."""
    return _input_norm(run.id, run.finished_attempt, block, module)
