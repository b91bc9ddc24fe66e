"""The Runs page: filter, one run, several, export, import, sweeps, measurements, workers."""

import io
import json
import zipfile
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.config import RunConfig, identify
from core.measurements.generation import Continuation
from core.measurements.spectra import Spectra
from core.settings import Settings
from core.store import Run, Store
from core.sweeps import Axis, Sweep
from core.sweeps.points import settle
from core.transfer import export_runs
from core.workers import cluster
from dashboard.components import cache
from dashboard.components.run_table import matching, table_key
from tests.pages.conftest import add_run, open_app

PAGE = "dashboard/runs.py"


def button(app: AppTest, label: str) -> Any:
    return next(button for button in app.button if button.label.startswith(label))


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def texts(app: AppTest) -> str:
    kinds = ("caption", "markdown", "info", "error", "warning", "success", "code")
    return " ".join(str(getattr(element, "value", "")) for kind in kinds for element in app.get(kind))


def select(app: AppTest, key: str, *rows: int) -> AppTest:
    app.session_state[key] = {"selection": {"rows": [*rows], "columns": [], "cells": []}}
    app.run()
    assert not app.exception, app.exception[0].message
    return app


@pytest.fixture
def three(store: Store) -> list[Run]:
    """Latest first: magnitude 50 %, wanda 2:4 (failed), wanda 60 %."""
    wanda = add_run(store, RunConfig(sparsity=0.6))
    failing = RunConfig(pattern="2:4")
    failed, _ = store.submit(failing, identify(failing))
    store.end(failed.id, "failed", "No memory.")
    magnitude = add_run(store, RunConfig(method="magnitude"), loss=5.0)
    return [magnitude, store.run(failed.run_id), wanda]


# Filter and table ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "statuses", "found"),
    [
        ("", [], [0, 1, 2]),
        ("magnitude", [], [0]),
        ("WANDA", [], [1, 2]),
        ("wanda 60", [], [2]),
        ("2:4", [], [1]),
        ("smollm2", [], [0, 1, 2]),
        ("", ["failed"], [1]),
        ("wanda", ["finished", "running"], [2]),
        ("sparsegpt", [], []),
    ],
)
def test_the_filter_takes_every_word_and_status(three, words, statuses, found):
    assert matching(three, words, statuses, []) == [three[place] for place in found]


def test_the_filter_takes_models_and_ids(three):
    label = three[0].config.model.label
    assert matching(three, "", [], [label]) == three
    assert matching(three, "", [], ["another"]) == []
    assert matching(three, three[1].id[:8], [], []) == [three[1]]


def test_the_page_shows_what_matches_and_says_how_many(three):
    app = open_app(PAGE)
    assert app.dataframe[0].value.run.tolist() == [run.id for run in three]
    app.text_input(key="filter").set_value("wanda").run()
    assert app.dataframe[0].value.run.tolist() == [run.id for run in three[1:]]
    assert "2 of 3 runs" in texts(app)
    app.text_input(key="filter").set_value("nothing like it").run()
    assert "No run matches" in texts(app)
    assert not app.exception


def test_a_link_restores_the_filter(three):
    app = open_app(PAGE, filter="wanda", status="failed")
    assert app.dataframe[0].value.run.tolist() == [three[1].id]


def test_a_selected_row_is_acted_upon_else_the_sidebars_run(three):
    app = open_app(PAGE, run=three[2].id)
    assert three[2].name in [header.value for header in app.subheader]
    select(app, table_key(three), 1)
    assert three[1].name in [header.value for header in app.subheader]
    assert "No memory." in texts(app)
    button(app, "Delete this run").click().run()
    assert [run.id for run in cache.store().runs()] == [three[0].id, three[2].id]
    assert app.selectbox(key="run").value == three[2].id, "what was not deleted stays selected"


# Several ---------------------------------------------------------------------------------------------------------------


def test_two_finished_runs_are_compared(three):
    app = select(open_app(PAGE), table_key(three), 0, 2)
    assert "2 runs selected" in [header.value for header in app.subheader]
    app.text_input(key="filter").set_value("5").run()
    app.text_input(key="filter").set_value("").run()
    select(app, table_key(three), 0, 2)
    button(app, "Compare").click().run()
    assert not app.exception
    assert [title.value for title in app.title] == ["What changed between these two?"]
    assert (app.selectbox(key="run").value, app.selectbox(key="with").value) == (three[0].id, three[2].id)


@pytest.mark.parametrize("rows", [(0, 1), (0, 1, 2)])
def test_what_has_not_finished_or_is_more_than_two_is_not_compared(three, rows):
    app = select(open_app(PAGE), table_key(three), *rows)
    assert button(app, "Compare").disabled


def test_several_are_deleted(store, three):
    app = select(open_app(PAGE, run=three[0].id), table_key(three), 0, 1)
    button(app, "Delete these 2 runs").click().run()
    assert not app.exception
    assert [run.id for run in store.runs()] == [three[2].id]
    assert app.selectbox(key="run").value is None


# Export and import -----------------------------------------------------------------------------------------------------


def exported(store: Store, *runs: Run) -> bytes:
    file = io.BytesIO()
    export_runs(store, [run.id for run in runs], file)
    return file.getvalue()


def test_the_finished_ones_of_several_are_exported(store, three, monkeypatch):
    given: dict[str, Any] = {}
    plain = st.download_button

    def noting(label, data, *rest, **more):
        given[label.partition(" ")[0]] = data
        return plain(label, data, *rest, **more)

    monkeypatch.setattr(st, "download_button", noting)
    app = open_app(PAGE)
    app.session_state["export"] = True
    select(app, table_key(three), 0, 1, 2)
    with zipfile.ZipFile(io.BytesIO(given["Download"]())) as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {three[0].id, three[2].id, "prunescope.json"}


def test_what_is_too_large_for_a_browser_names_the_command(store, three, monkeypatch):
    monkeypatch.setattr("dashboard.components.run_actions._LARGEST_DOWNLOAD", 10)
    app = open_app(PAGE)
    app.session_state["export"] = True
    select(app, table_key(three), 0, 2)
    assert f"python -m core runs export --no-weights {three[0].id} {three[2].id} runs.zip" in texts(app)


def test_a_file_is_imported_and_the_next_one_can_be_chosen(store, three, tmp_path):
    other = Store.open(Settings(home=tmp_path / "elsewhere"))
    theirs = add_run(other, RunConfig(method="ria"))
    app = open_app(PAGE)
    app.file_uploader(key="import_0").set_value(("runs.zip", exported(other, theirs), "application/zip")).run()
    button(app, "Import").click().run()
    assert not app.exception
    assert f"Imported 1: {theirs.id}." in texts(app)
    assert store.run(theirs.id).result == theirs.result
    app.file_uploader(key="import_1").set_value(("again.zip", exported(other, theirs), "application/zip")).run()
    button(app, "Import").click().run()
    assert f"Finished here already, so left as they are: {theirs.id}." in texts(app)


def test_what_is_no_such_file_is_one_sentence(store):
    app = open_app(PAGE)
    app.file_uploader(key="import_0").set_value(("runs.zip", b"no zip at all", "application/zip")).run()
    button(app, "Import").click().run()
    assert not app.exception
    (sentence,) = [error.value for error in app.error]
    assert sentence.startswith("file = 'runs.zip' cannot be read")
    assert store.runs() == []


# Sweeps, measurements, workers -----------------------------------------------------------------------------------------


@pytest.fixture
def swept(store: Store):
    points, left_out = settle(Sweep(base=RunConfig(), axes=(Axis.of("sparsity", "0.3", "0.5"),)), cache.profile)
    record = store.sweeps.submit(Sweep(base=RunConfig(), axes=(Axis.of("sparsity", "0.3", "0.5"),)), points, left_out)
    return record, [add_run(store, RunConfig(sparsity=sparsity)) for sparsity in (0.3, 0.5)]


def test_sweeps_are_listed_with_their_size(store, swept):
    record, runs = swept
    app = open_app(PAGE, view="Sweeps")
    row = app.dataframe[0].value.iloc[0]
    assert (row["name"], row.finished, row["id"]) == (record.name, "2 of 2", record.id)
    on_disk = sum(path.stat().st_size for run in runs for path in store.folder(run.id).rglob("*") if path.is_file())
    assert row["size"] == f"{on_disk / 1000:.3g} kB"


@pytest.mark.parametrize("with_runs", [False, True])
def test_a_sweep_is_deleted_with_or_without_its_runs(store, swept, with_runs):
    record, runs = swept
    app = open_app(PAGE, view="Sweeps")
    select(app, f"sweeps {hash((record.id,))}", 0)
    app.checkbox(key="with_runs").set_value(with_runs).run()
    app.button(key="delete_sweeps").click().run()
    assert not app.exception
    assert store.sweeps.all() == []
    assert len(store.runs()) == (0 if with_runs else len(runs))


def test_a_sweep_is_opened_on_the_curves_page(store, swept):
    app = open_app(PAGE, view="Sweeps")
    select(app, f"sweeps {hash((swept[0].id,))}", 0)
    button(app, "Open on the Curves page").click().run()
    assert app.selectbox(key="sweep").value == swept[0].id


def test_measurements_are_listed_with_their_size_and_deleted(store, run):
    one = Continuation.of_run(run, generation={"prompt": "The river"})
    attempt, _ = store.submit_measurement(one)
    store.keep_finding(one.id, {"text": " flows"})
    store.end(attempt.id, "finished")
    app = open_app(PAGE, view="Measurements")
    row = app.dataframe[0].value.iloc[0]
    assert row["name"] == one.label
    assert row["size"] == f"{len(json.dumps({'text': ' flows'}, indent=2))} B"
    select(app, f"measurements {hash((one.label,))}", 0)
    button(app, "Delete 1 selected").click().run()
    assert not app.exception
    assert not one.known(store)
    assert store.measurements() == []
    assert store.run(run.id).result is not None


def test_empty_views_say_what_would_be_there(store):
    assert "No sweep yet" in texts(open_app(PAGE, view="Sweeps"))
    assert "Nothing was measured yet" in texts(open_app(PAGE, view="Measurements"))
    app = open_app(PAGE, view="Workers")
    assert "The worker is starting" in texts(app)
    assert "Nothing runs and nothing waits." in texts(app)


def test_the_workers_and_the_queue(store, run, monkeypatch):
    running, _ = store.submit(RunConfig(sparsity=0.3), run.identity)
    store.start(running.id)
    waiting = [store.submit(RunConfig(sparsity=sparsity), run.identity)[0] for sparsity in (0.4, 0.7)]
    measured, _ = store.submit_measurement(Spectra(model=run.config.model, revision="r"))
    info = {
        "workers": {
            "tcp://10.0.0.1:1": {"host": "10.0.0.1", "nthreads": 1, "memory_limit": 0, "metrics": {"memory": 2.5e9}}
        }
    }
    found = cluster("tcp://10.0.0.9:8786", False, info, {"tcp://10.0.0.1:1": [f"attempt-{running.id}-17", "other-1"]})

    class Jobs:
        def cluster(self):
            return found

    monkeypatch.setattr(cache, "started_jobs", Jobs)
    app = open_app(PAGE, view="Workers")
    workers, queue = (frame.value for frame in app.dataframe)
    assert workers["memory"].tolist() == ["2.5 GB"]
    assert workers["works on"][0].startswith("Wanda 30 % (Starting, ")
    assert queue.place.tolist() == ["runs", "1", "2", "3"]
    assert queue["name"].tolist() == ["Wanda 30 %", "Wanda 40 %", "Wanda 70 %", store.work(measured).name]
    select(app, f"queue {hash((running.id, *(one.id for one in waiting), measured.id))}", 1, 3)
    button(app, "Cancel 2 selected").click().run()
    states = [store.attempt(one.id).status for one in (running, *waiting, measured)]
    assert states == ["running", "cancelled", "queued", "cancelled"]


# Many ------------------------------------------------------------------------------------------------------------------


def test_the_page_asks_for_all_runs_no_more_than_twice(store, run, monkeypatch):
    """Once for the sidebar, once for the table; how long that takes is tested in tests/runs/test_many_runs.py."""
    asked: list[int] = []
    plain = Store.runs
    app = open_app(PAGE)
    monkeypatch.setattr(Store, "runs", lambda self, ids=None: asked.append(1) or plain(self, ids))
    app.run()
    assert 1 <= len(asked) <= 2
