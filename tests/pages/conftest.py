"""Pages through AppTest, on a store with one small finished run."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import streamlit as st
import torch
from streamlit import config as streamlit_config
from streamlit.testing.v1 import AppTest

from core.config import RunConfig, identify
from core.estimate import known_speed
from core.evaluation.result import perplexity
from core.measurements import Measurement
from core.profile import ModelProfile, ModuleInfo
from core.store import Run, RunResult, Store
from core.store.artifacts import Artifacts, pack

APP = Path(__file__).parents[2] / "app.py"
LABELS = ["self_attn.q_proj", "mlp.down_proj"]


@pytest.fixture
def store(tmp_path, monkeypatch) -> Store:
    """An empty store in a folder of its own, with no worker behind it."""
    monkeypatch.setenv("PRUNESCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("dashboard.components.cache.start_worker", lambda: None)
    monkeypatch.setattr("dashboard.components.cache.started_jobs", lambda: None)
    streamlit_config.set_option("client.showErrorDetails", "full")
    st.cache_resource.clear()
    st.cache_data.clear()
    opened = Store.open()
    known_speed(opened)
    opened.remember(f"profile v1 embedded {RunConfig().model.label} {RunConfig().model.revision_key()}", PROFILE)
    return opened


PROFILE = ModelProfile(
    architecture="Tiny",
    parameters=1000,
    max_seqlen=8192,
    vocabulary=100,
    hidden_size=8,
    itemsize=4,
    modules=tuple(
        ModuleInfo(name=f"blocks.{block}.{label}", block=block, label=label, shape=(8, 8))
        for block in range(3)
        for label in LABELS
    ),
).model_dump(mode="json")


def add_run(
    store: Store,
    config: RunConfig | None = None,
    loss: float = 4.0,
    evaluated_on: str = "Wikipedia (embedded), 2 × 256 tokens",
    **more: Any,
) -> Run:
    """A finished run in which half of every row is pruned, the right half."""
    config = config or RunConfig()
    identity = identify(config)
    attempt, _ = store.submit(config, identity)
    store.start(attempt.id)
    keep = torch.ones(8, 8, dtype=torch.bool)
    keep[:, 4:] = False
    rows = [
        {
            "module": f"blocks.{block}.{label}", "block": block, "label": label, "rows": 8, "columns": 8,
            "parameters": 64, "target": 0.5, "pruned": 32, "sparsity": 0.5, "dead_inputs": 0,
            "error": 0.1 * (block + 1), "error_basis": "sample", "updated": False, "seconds": 0.1,
        }
        for block in range(3)
        for label in LABELS
    ]  # fmt: skip
    result = RunResult(
        dense_perplexity=perplexity([3.0, 3.2], 256),
        perplexity=perplexity([loss, loss + 0.2], 256),
        target_sparsity=0.5,
        pruned=192,
        parameters=384,
        dense_bytes=1536,
        bitmask_bytes=816,
        evaluated_on=evaluated_on,
        calibrated_on="Wikipedia (embedded), 16 × 256 tokens",
        prune_seconds=1.0,
        seconds=2.0,
        warnings=("A warning that must be seen.",),
        **more,
    )
    table = pd.DataFrame(rows)
    masks = {str(row["module"]): pack(keep) for row in rows}
    store.finish(attempt.id, result, Artifacts(table, pd.DataFrame(), masks, {}, {}))
    return store.run(attempt.run_id)


@pytest.fixture
def run(store) -> Run:
    return add_run(store)


def open_app(page: str | None = None, **address: str) -> AppTest:
    """The app as a browser would open it at this page and address; fails on any exception in the page."""
    app = AppTest.from_file(str(APP), default_timeout=30)
    for key, value in address.items():
        app.query_params[key] = value
    app.run()
    if page:
        app.switch_page(page).run()
    assert not app.exception, app.exception[0].message
    return app


@pytest.fixture
def submitted(store, monkeypatch) -> list[RunConfig]:
    """The configs that pages submit; each is finished at once."""
    configs: list[RunConfig] = []

    class Jobs:
        def submit(self, config):
            configs.append(config)
            return add_run(store, config).attempt

    monkeypatch.setattr("dashboard.components.cache.jobs", Jobs)
    return configs


@pytest.fixture
def measured(store, monkeypatch) -> list[Measurement]:
    """What pages ask to be measured; nothing is."""
    asked: list[Measurement] = []

    class Jobs:
        def measure(self, measurement):
            asked.append(measurement)
            return store.submit_measurement(measurement)[0]

    monkeypatch.setattr("dashboard.components.cache.jobs", Jobs)
    return asked
