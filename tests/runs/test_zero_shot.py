"""Zero-shot tasks: the harness's own figures, kept by task, told as they come, and refused in one sentence before any work."""

import json
import logging
import os
import re
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from lm_eval.tasks._yaml_loader import load_yaml

from core.api import measure_now, run_config
from core.cli.commands import main
from core.config import RunConfig
from core.errors import Cancelled, InputError
from core.evaluation import zero_shot
from core.evaluation.harness import Scorer
from core.evaluation.task_data import task_data
from core.evaluation.tasks import TASKS, TaskName
from core.evaluation.zero_shot import TaskChoice
from core.events import Event, Message, PhaseStarted, Progress
from core.execution import drain
from core.measurements.zero_shot import ZeroShot, last_accuracies
from core.models.sources import LoadedModel, ModelSource, parse_source
from core.reopening import reopen
from core.store import Store
from tests.runs.material import sentence
from tests.zero_shot_oracle import DEFINITIONS, TASKS_FOLDER, harness_model, harness_results, write_tasks

Configs = Callable[..., RunConfig]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks") / "files")


@pytest.fixture
def model(tiny_folder: Callable[..., Path]) -> ModelSource:
    return parse_source(str(tiny_folder()))


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelSource, "load", lambda source: pytest.fail("a model was loaded"))


def choice(files: Path, *tasks: str, **fields: Any) -> TaskChoice:
    return TaskChoice.model_validate({"tasks": tasks, "folder": str(files), **fields})


def scored(events: list[Event]) -> list[str]:
    """The tasks that a model was asked, by their titles."""
    found = [re.fullmatch("(.*): scoring answers", event.phase) for event in events if isinstance(event, PhaseStarted)]
    return [match[1] for match in found if match]


def test_every_phase_is_told_with_its_own_progress(files: Path, store: Store, model: ModelSource) -> None:
    """What is read is not told below the phase before it, and no phase has more steps than it says."""
    events: list[Event] = []
    measure_now(ZeroShot.of(model, choice(files, "boolq", "arc_easy", limit=3)), store, events.append)
    phases: dict[str, tuple[int, list[int]]] = {}
    for event in events:
        if isinstance(event, PhaseStarted):
            total, done = phases[event.phase] = event.total, []
        elif isinstance(event, Progress):
            done.append(event.done)
    assert list(phases) == [
        "Reading the tasks",
        "Loading the model",
        "BoolQ: reading documents",
        "BoolQ: scoring answers",
        "ARC-Easy: reading documents",
        "ARC-Easy: scoring answers",
    ]
    for total, done in phases.values():
        assert done == sorted(done)
        assert not done or done[-1] <= total
    assert phases["BoolQ: reading documents"][0] == 3
    assert phases["BoolQ: scoring answers"][1][-1] == phases["BoolQ: scoring answers"][0] == 6


def test_dense_and_pruned_are_what_the_harness_finds(
    config: Configs, store: Store, files: Path, tmp_path: Path, model: ModelSource
) -> None:
    _, run = run_config(config(sparsity=0.5), store)
    for weights, loaded in ((model, model.load()), (run, reopen(run.id, store))):
        measurement = ZeroShot.of(weights, choice(files, limit=7, batch_size=3))
        measure_now(measurement, store)
        found = measurement.found(store)
        (tmp_path / measurement.id).mkdir()
        theirs = harness_results(loaded, list(TASKS), files, tmp_path / measurement.id, limit=7, batch_size=3)
        assert {name: one.model_dump(include={*theirs[name]}) for name, one in found.items()} == theirs
        assert {one.documents for one in found.values()} == {7}
        assert {one.available for one in found.values()} == {9}
    assert len({one.accuracy for one in found.values()}) > 2  # a model that always says the same would agree as well


@pytest.mark.parametrize("name", TASKS)
def test_the_tasks_are_where_the_harness_has_them(name: TaskName) -> None:
    definition = load_yaml(TASKS_FOLDER / DEFINITIONS[name], resolve_func=False)
    assert definition["task"] == name
    assert definition["dataset_path"] == TASKS[name].data_set
    assert Path(DEFINITIONS[name]).parent == Path(TASKS[name].folder)


@pytest.mark.parametrize("name", ["boolq", "hellaswag", "winogrande"])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_rows_batches_and_log_likelihoods_are_the_harnesss(
    model: ModelSource, files: Path, name: TaskName, batch_size: int
) -> None:
    loaded, data = model.load(), task_data(name, str(files))
    task = data.load(data.fingerprint())
    task.build_all_requests()
    seen: list[list[list[int]]] = []
    loaded.model.get_input_embeddings().register_forward_hook(lambda module, given, out: seen.append(given[0].tolist()))
    theirs = harness_model(loaded, batch_size).loglikelihood(task.instances)
    their_batches = seen.copy()
    seen.clear()
    scorer = Scorer(loaded, batch_size)
    events: list[Any] = []
    assert drain(scorer.answer(scorer.read(task.instances)), events.append) == theirs
    assert seen == their_batches
    steps = [event.done for event in events]
    assert len(steps) == len(their_batches)
    assert steps == sorted(set(steps))
    assert steps[-1] == len(theirs)


def test_what_is_known_is_not_asked_again(model: ModelSource, store: Store, files: Path) -> None:
    events: list[Event] = []
    first = ZeroShot.of(model, choice(files, "rte", "mnli", limit=3))
    measure_now(first, store, events.append)
    assert scored(events) == ["RTE", "MNLI"]
    more = ZeroShot.of(model, choice(files, "arc_easy", "rte", limit=3))
    assert list(more.found(store)) == ["rte"]
    events.clear()
    measure_now(more, store, events.append)
    assert scored(events) == ["ARC-Easy"]
    assert more.found(store)["rte"] == first.found(store)["rte"]
    assert not ZeroShot.of(model, choice(files, "rte", limit=4)).found(store)


def test_all_runs_share_the_dense_models_results(
    config: Configs, model: ModelSource, store: Store, files: Path
) -> None:
    _, run = run_config(config(sparsity=0.5), store)
    dense, pruned = (ZeroShot.of(weights, choice(files, "rte", limit=3)) for weights in (model, run))
    measure_now(dense, store)
    assert pruned.dense.found(store) == dense.found(store)
    assert not pruned.known(store)
    measure_now(pruned, store)
    assert pruned.known(store)
    assert last_accuracies(run, store) == pruned.found(store)
    later = ZeroShot.of(model, choice(files, "mnli", limit=2))
    measure_now(later, store)
    assert last_accuracies(run, store, dense=True) == dense.found(store) | later.found(store)
    store.delete(run.id)
    assert not pruned.known(store)
    assert dense.known(store)


def test_a_cancelled_one_keeps_what_it_finished(model: ModelSource, store: Store, files: Path) -> None:
    events: list[Event] = []
    measurement = ZeroShot.of(model, choice(files, "rte", "hellaswag", limit=8, batch_size=1))

    def cancel_amid_the_second(event: Event) -> None:
        events.append(event)
        if scored(events) == ["RTE", "HellaSwag"] and isinstance(event, Progress):
            store.request_cancel(store.active()[0].id)

    with pytest.raises(Cancelled):
        measure_now(measurement, store, cancel_amid_the_second)
    assert events[-1] == Progress(done=1)
    assert list(measurement.found(store)) == ["rte"]
    record = store.measurement(measurement.id)
    assert record is not None
    assert record.attempt.status == "cancelled"
    events.clear()
    measure_now(measurement, store, events.append)
    assert scored(events) == ["HellaSwag"]
    assert measurement.known(store)


def test_the_process_is_left_as_it_was(
    model: ModelSource, store: Store, files: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded = model.load()

    def state() -> dict[str, Any]:  # not Python's random numbers: beartype, which checks our calls here, takes some
        names = (None, "lm_eval", "datasets", "transformers")
        return {
            "numpy": str(np.random.get_state()),
            "torch": torch.get_rng_state().sum().item(),
            "environment": dict(os.environ),
            "levels": [logging.getLogger(name).level for name in names],
            "bars": datasets.are_progress_bars_disabled(),
            "tokenizer": (loaded.tokenizer.pad_token, len(loaded.tokenizer)),
            "weights": [weight.sum().item() for weight in loaded.model.state_dict().values()],
        }

    before = state()
    assert loaded.tokenizer.pad_token is None
    drain(ZeroShot.of(model, choice(files, limit=2)).steps(store, lambda source: loaded), lambda event: None)
    assert state() == before
    assert capfd.readouterr() == ("", "")


def test_a_text_beyond_the_context_is_cut_and_said(
    model: ModelSource, store: Store, tmp_path: Path
) -> None:  # the tiny model has 64 positions
    rows = [{"passage": "river " * length, "question": "a layer", "label": 0} for length in (2, 200, 300)]
    (tmp_path / "boolq.jsonl").write_text("\n".join(map(json.dumps, rows)))
    events: list[Event] = []
    measurement = ZeroShot.of(model, choice(tmp_path))
    measure_now(measurement, store, events.append)
    said = next(event.text for event in events if isinstance(event, Message))
    assert said.startswith("BoolQ: 2 of 3 documents are longer than the model's context of 64 tokens")
    assert measurement.found(store)["boolq"].cut == 2


def test_an_answer_beyond_the_context_is_refused(model: ModelSource, store: Store, tmp_path: Path) -> None:
    row = {"activity_label": "A", "ctx_a": "a", "ctx_b": "b", "endings": ["river", "zebra " * 100], "label": 0}
    (tmp_path / "hellaswag.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=r"HellaSwag has an answer of \d+ tokens, and the model's context is 64"):
        measure_now(ZeroShot.of(model, choice(tmp_path)), store)


def test_a_broken_model_is_said_to_be_broken(model: ModelSource, store: Store, files: Path) -> None:
    def load(source: ModelSource) -> LoadedModel:
        loaded = source.load()
        with torch.no_grad():
            loaded.model.lm_head.weight.fill_(float("nan"))
        return loaded

    events: list[Event] = []
    drain(ZeroShot.of(model, choice(files, "rte", limit=2)).steps(store, load), events.append)
    assert any(
        "RTE: 4 of 4 log-likelihoods are not a number" in event.text for event in events if isinstance(event, Message)
    )


def test_parquet_holds_the_same(model: ModelSource, store: Store, files: Path, tmp_path: Path) -> None:
    for name in TASKS:
        pd.read_json(files / f"{name}.jsonl", lines=True, dtype=False).to_parquet(tmp_path / f"{name}.parquet")
    both = [ZeroShot.of(model, choice(folder, "winogrande", "openbookqa", limit=0)) for folder in (files, tmp_path)]
    for measurement in both:
        measure_now(measurement, store)
    ours, theirs = (
        [one.model_dump(exclude={"source", "fingerprint", "seconds"}) for one in measurement.found(store).values()]
        for measurement in both
    )
    assert ours == theirs


def test_documents_that_have_changed_since_are_refused(
    model: ModelSource, store: Store, files: Path, tmp_path: Path, no_model: None
) -> None:
    file = tmp_path / "rte.jsonl"
    file.write_bytes((files / "rte.jsonl").read_bytes())
    measurement = ZeroShot.of(model, choice(tmp_path))
    file.write_text(file.read_text().replace("river", "village"))
    with pytest.raises(
        InputError, match=r"tasks = rte: its documents \(.*rte.jsonl\) have changed since; start again."
    ):
        measure_now(measurement, store)


# The command line ---------------------------------------------------------------------------------------------------


def zero_shot_command(*words: Any) -> Any:
    return CliRunner().invoke(main, ["zero-shot", *map(str, words)])


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_the_command_shows_a_run_beside_its_dense_model(
    config: Configs, model: ModelSource, store: Store, files: Path, tmp_path: Path, suffix: str, monkeypatch: Any
) -> None:
    monkeypatch.setenv("PRUNESCOPE_TASKS", str(files))
    _, run = run_config(config(sparsity=0.5), store)
    chosen = ["--tasks", "arc_easy,rte", "--limit", "3"]
    alone = zero_shot_command("--run", run.id, *chosen)
    assert alone.exit_code == 0, alone.output
    assert "pruned" in alone.stdout
    assert "dense" not in alone.stdout
    dense = zero_shot_command("--model", model.path, *chosen)  # type: ignore[attr-defined]
    assert dense.exit_code == 0, dense.output
    file = tmp_path / f"table{suffix}"
    monkeypatch.setattr(ModelSource, "load", lambda source: pytest.fail("a model was loaded again"))
    both = zero_shot_command("--run", run.id, *chosen, "--out", file)
    assert both.exit_code == 0, both.output
    read = {".csv": pd.read_csv, ".json": pd.read_json, ".parquet": pd.read_parquet}[suffix]
    table = read(file)
    assert list(zip(table.task, table.weights, strict=True)) == [
        (task, weights) for task in ("RTE", "ARC-Easy", "Mean of 2") for weights in ("dense", "pruned")
    ]
    found = ZeroShot.of(run, TaskChoice(tasks=("rte", "arc_easy"), limit=3)).found(store)
    pruned = table[table.weights == "pruned"].set_index("task")
    assert pruned.accuracy["RTE"] == pytest.approx(found["rte"].accuracy, rel=1e-12)
    assert pruned.normalised["ARC-Easy"] == pytest.approx(found["arc_easy"].normalised, rel=1e-12)
    mean = (found["rte"].accuracy + found["arc_easy"].accuracy) / 2
    assert pruned.accuracy["Mean of 2"] == pytest.approx(mean, rel=1e-12)
    for one in found.values():
        assert f"{one.accuracy:.2%} ± {one.standard_error:.2%}" in both.stdout


def test_without_the_harness_it_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, files: Path, no_model: None
) -> None:
    def version(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(zero_shot, "version", version)
    message = sentence(zero_shot_command("--data", files))
    assert message == "Zero-shot tasks need the package lm_eval; pip install -r requirements-zeroshot.txt brings it."


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--data", "/nowhere"], "folder = '/nowhere' does not exist"),
        (["--data", "{empty}"], "has no file of any task"),
        (["--data", "{files}", "--tasks", "rtee"], "tasks.0 = 'rtee' is not valid: Input should be 'boolq', 'rte'"),
        (["--data", "{files}", "--limit", "few"], "limit = 'few' is not valid"),
        (["--data", "{empty}", "--tasks", "openbookqa"], "holds neither openbookqa.jsonl nor openbookqa.parquet"),
        (["--data", "{files}", "--run", "0123456789abcdef"], "run = '0123456789abcdef' does not exist"),
        (["--data", "{files}", "--run", "x", "--model", "embedded"], "leave --model out"),
        (["--data", "{files}", "--out", "table.txt"], "table.txt"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(
    words: list[str], part: str, files: Path, tmp_path: Path, no_model: None
) -> None:
    assert part in sentence(zero_shot_command(*(word.format(files=files, empty=tmp_path) for word in words)))


@pytest.mark.parametrize(
    ("endpoint", "part"), [("http://127.0.0.1:9", "the hub does not answer"), (None, "HF_HUB_OFFLINE is set")]
)
def test_a_hub_that_cannot_be_reached_is_one_sentence_at_once(
    monkeypatch: pytest.MonkeyPatch, no_model: None, endpoint: str | None, part: str
) -> None:
    if endpoint:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    else:
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    started = time.perf_counter()
    message = sentence(zero_shot_command("--tasks", "boolq"))
    assert time.perf_counter() - started < 5
    assert message == (
        f"tasks = boolq: the data set aps/super_glue cannot be read ({part}); check the connection, or name a folder with "
        "boolq.jsonl or boolq.parquet (--data, or PRUNESCOPE_TASKS)."
    )
