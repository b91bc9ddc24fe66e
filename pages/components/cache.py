"""The only place where Streamlit caches anything; nothing cached here is ever mutated."""

from __future__ import annotations

import json
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from core.config import Identity, RunConfig, identify
from core.errors import InputError
from core.models.profiles import stored_profile
from core.models.sources import ModelSource
from core.profile import ModelProfile
from core.store import Run, Store

if TYPE_CHECKING:
    from core.jobs import Jobs


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


def modules(run: Run) -> pd.DataFrame:
    """A finished run's table of modules."""
    return _modules(run.id, run.attempt.id)


@st.cache_data(max_entries=64, show_spinner=False)
def _modules(run_id: str, attempt_id: int) -> pd.DataFrame:
    return store().modules(run_id)


@st.cache_data(max_entries=64, show_spinner=False)
def _line_sparsity(run_id: str, attempt_id: int, module: str) -> tuple[np.ndarray, np.ndarray]:
    pruned = ~store().mask(run_id, module).numpy()
    return pruned.mean(axis=1), pruned.mean(axis=0)


def line_sparsity(run: Run, module: str) -> tuple[np.ndarray, np.ndarray]:
    """Share of weights the mask prunes in each row [out] and each column [in] of a module."""
    return _line_sparsity(run.id, run.attempt.id, module)
