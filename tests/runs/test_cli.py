"""The command line: what it prints, writes and refuses."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.cli.commands import main
from core.config import RunConfig, identify
from core.methods import Method
from core.reopening import reopen
from core.store import Store, liveness
from tests.runs.material import SEQLEN, naive_perplexity, run_options, sentence
from tests.runs.peer import ROOT

Folders = Callable[..., Path]
Texts = dict[str, Path]


def core(*arguments: Any) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def succeeded(result: Result) -> Result:
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result


# What works -----------------------------------------------------------------------------------------------------------


def test_prune_writes_json_saves_and_prints(tiny_folder: Folders, texts: Texts, store: Store, tmp_path: Path) -> None:
    file, saved = tmp_path / "run.json", tmp_path / "saved"
    options = run_options(tiny_folder(), texts, method="sparsegpt", sparsity="2:4")
    printed = succeeded(core("prune", *options, "--json", file, "--save", saved)).stdout

    content = json.loads(file.read_text(encoding="utf-8"))
    assert content.keys() >= {
        "run_id",
        "config",
        "dense_perplexity",
        "perplexity",
        "target_sparsity",
        "sparsity",
        "seconds",
        "modules",
    }
    assert content["target_sparsity"] == content["sparsity"] == 0.5
    assert content["seconds"] > 0
    run = store.run(content["run_id"])
    assert run.status == "finished"
    assert run.result is not None
    assert content["perplexity"] == run.result.perplexity.value
    assert content["dense_perplexity"] == run.result.dense_perplexity.value
    assert RunConfig.model_validate(content["config"]) == run.config

    names = [
        f"model.layers.{block}.{part}"
        for block in range(2)
        for part in (
            *(f"self_attn.{letter}_proj" for letter in "qkvo"),
            "mlp.gate_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        )
    ]
    assert [row["module"] for row in content["modules"]] == names
    for row in content["modules"]:
        assert row["target"] == row["sparsity"] == 0.5
        assert row["pruned"] * 2 == row["parameters"]
        assert row["seconds"] > 0
        assert 0 < row["error"] < 1

    for figure in (f"{content['dense_perplexity']:.3f}", f"{content['perplexity']:.3f}", "50.0000%", content["run_id"]):
        assert figure in printed

    loaded = AutoModelForCausalLM.from_pretrained(saved).eval()
    tokenizer = AutoTokenizer.from_pretrained(saved)
    again = naive_perplexity(loaded, tokenizer, texts["evaluation"], windows=6)
    assert again == pytest.approx(content["perplexity"], rel=1e-5)
    assert again != pytest.approx(content["dense_perplexity"], rel=1e-5)
    assert RunConfig.model_validate_json((saved / "prunescope.json").read_text(encoding="utf-8")) == run.config
    assert not list(saved.glob("*.bin"))


def test_what_is_saved_can_be_pruned_again(tiny_folder: Folders, texts: Texts, tmp_path: Path, store: Store) -> None:
    succeeded(core("prune", *run_options(tiny_folder(), texts), "--save", tmp_path / "once"))
    succeeded(core("prune", *run_options(tmp_path / "once", texts, sparsity=0.6)))
    twice, once = store.runs()
    assert once.result is not None
    assert twice.result is not None
    assert twice.result.dense_perplexity.value == pytest.approx(once.result.perplexity.value, rel=1e-6)


def test_a_saved_folder_can_be_read_by_others(tiny_folder: Folders, texts: Texts, tmp_path: Path) -> None:
    """It has the permissions that any new folder has here, not those of a private temporary one."""
    succeeded(core("prune", *run_options(tiny_folder(), texts), "--save", tmp_path / "saved"))
    (tmp_path / "usual").mkdir()
    assert (tmp_path / "saved").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_save_never_replaces_without_being_told(
    tiny_folder: Folders, texts: Texts, store: Store, tmp_path: Path
) -> None:
    target = tmp_path / "saved"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    options = run_options(tiny_folder(), texts)
    message = sentence(core("prune", *options, "--save", target))
    assert str(target) in message
    assert "--overwrite" in message
    assert store.runs() == []  # refused before any work
    assert (target / "mine.txt").read_text() == "mine"

    message = sentence(core("prune", *options, "--save", target, "--overwrite"))
    assert str(target) in message
    assert (target / "mine.txt").read_text() == "mine"  # told or not, what this program did not save is not removed

    (target / "mine.txt").unlink()
    succeeded(core("prune", *options, "--save", target))
    first = (target / "model.safetensors").stat().st_mtime_ns
    succeeded(core("prune", *options, "--save", target, "--overwrite"))
    assert (target / "model.safetensors").stat().st_mtime_ns > first


def test_save_never_replaces_the_model_that_is_pruned(own_folder: Path, texts: Texts, store: Store) -> None:
    (own_folder / "prunescope.json").write_text("{}")  # it may be a saved one that is pruned further
    before = (own_folder / "model.safetensors").read_bytes()
    message = sentence(core("prune", *run_options(own_folder, texts), "--save", own_folder, "--overwrite"))
    assert str(own_folder) in message
    assert (own_folder / "model.safetensors").read_bytes() == before
    assert store.runs() == []


@pytest.mark.parametrize("kind", ["a file", "below a file"])
def test_save_where_no_folder_can_be(
    tiny_folder: Folders, texts: Texts, store: Store, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "file").write_text("mine")
    target = tmp_path / "file" if kind == "a file" else tmp_path / "file" / "saved"
    assert str(target) in sentence(core("prune", *run_options(tiny_folder(), texts), "--save", target))
    assert store.runs() == []
    assert (tmp_path / "file").read_text() == "mine"


def test_save_into_an_empty_folder(tiny_folder: Folders, texts: Texts, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    succeeded(core("prune", *run_options(tiny_folder(), texts), "--save", tmp_path / "empty"))
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_delete_drops_the_weights_and_keeps_the_rest(tiny_folder: Folders, texts: Texts, store: Store) -> None:
    options = run_options(tiny_folder(), texts, method="sparsegpt")
    succeeded(core("prune", *options, "--delete"))
    (run,) = store.runs()
    assert run.weights_bytes == 0
    assert store.survivors(run.id) is None
    assert not (store.folder(run.id) / "weights.safetensors").exists()
    assert len(store.masks(run.id)) == 14
    succeeded(core("prune", *options))
    assert store.run(run.id).weights_bytes > 0


def test_save_and_delete_contradict(tiny_folder: Folders, texts: Texts, store: Store, tmp_path: Path) -> None:
    message = sentence(core("prune", *run_options(tiny_folder(), texts), "--save", tmp_path / "saved", "--delete"))
    assert "--save" in message
    assert "--delete" in message
    assert store.runs() == []


def test_a_config_from_json_is_the_same_run(tiny_folder: Folders, texts: Texts, store: Store, tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    options = run_options(tiny_folder(), texts, method="wanda", sparsity="1:4", calibration_seed=3)
    succeeded(core("prune", *options, "--json", first))
    succeeded(core("prune", "--config", first, "--json", second))
    before, after = (json.loads(file.read_text(encoding="utf-8")) for file in (first, second))
    assert before["run_id"] == after["run_id"]
    for key in ("config", "perplexity", "dense_perplexity", "sparsity"):
        assert before[key] == after[key]
    assert [attempt.number for attempt in store.attempts(before["run_id"])] == [1, 2]

    bare = tmp_path / "bare.json"
    bare.write_text(json.dumps(before["config"]), encoding="utf-8")
    succeeded(core("prune", "--config", bare))
    assert store.run(before["run_id"]).attempt.number == 3


def test_the_config_of_an_export_is_the_same_run(
    tiny_folder: Folders, texts: Texts, store: Store, tmp_path: Path
) -> None:
    succeeded(core("prune", *run_options(tiny_folder(), texts), "--save", tmp_path / "saved"))
    succeeded(core("prune", "--config", tmp_path / "saved" / "prunescope.json"))
    assert [run.attempt.number for run in store.runs()] == [2]


@pytest.mark.parametrize(
    ("changes", "field", "value"),
    [
        ({"sparsity": "2:4"}, ("pattern", "n"), 2),
        ({"pattern": "3:4"}, ("pattern", "m"), 4),
        ({"pattern": "1:4", "sparsity": "0.75"}, ("sparsity",), 0.75),
        ({"sparsity": "0"}, ("sparsity",), 0),
        ({"pattern_group": "input"}, ("pattern", "group"), "input"),
        ({"method": "sparsegpt", "method_blocksize": "16"}, ("method", "blocksize"), 16),
        ({"dtype": "bfloat16"}, ("model", "dtype"), "bfloat16"),
        ({"evaluation_windows": "all"}, ("evaluation", "windows"), None),
        ({"calibration_batch_size": "3"}, ("calibration", "batch_size"), 3),
    ],
)
def test_options_reach_the_config(
    tiny_folder: Folders,
    texts: Texts,
    tmp_path: Path,
    changes: dict[str, str],
    field: tuple[str, ...],
    value: Any,
) -> None:
    file = tmp_path / "run.json"
    succeeded(core("prune", *run_options(tiny_folder(), texts, **changes), "--json", file))
    content = json.loads(file.read_text(encoding="utf-8"))
    config = content["config"]
    for name in field:
        config = config[name]
    assert config == value
    assert content["sparsity"] == pytest.approx(content["target_sparsity"], abs=0.01)


def test_a_broken_model_is_measured_too(own_folder: Path, texts: Texts, store: Store, tmp_path: Path) -> None:
    """Its perplexity is infinite; the JSON stays JSON and the store readable."""
    state = load_file(own_folder / "model.safetensors")
    state["lm_head.weight"] = state["lm_head.weight"] * 1e4
    save_file(state, own_folder / "model.safetensors", metadata={"format": "pt"})
    file = tmp_path / "run.json"
    succeeded(core("prune", *run_options(own_folder, texts), "--json", file))

    def no_json(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    content = json.loads(file.read_text(encoding="utf-8"), parse_constant=no_json)
    assert content["run_id"] == store.runs()[0].id
    result = store.runs()[0].result
    assert result is not None
    assert not math.isfinite(result.dense_perplexity.value)
    assert content["run_id"] in succeeded(core("runs", "show", content["run_id"])).stdout


def test_runs_list_show_export_and_delete(tiny_folder: Folders, texts: Texts, store: Store, tmp_path: Path) -> None:
    assert succeeded(core("runs", "list")).stdout
    succeeded(core("prune", *run_options(tiny_folder(), texts, method="sparsegpt")))
    (run,) = store.runs()
    assert run.result is not None

    listed = succeeded(core("runs", "list")).stdout
    assert run.id in listed
    assert "finished" in listed

    shown = succeeded(core("runs", "show", run.id)).stdout
    assert f"{run.result.perplexity.value:.3f}" in shown

    folder = tmp_path / "exported"
    assert str(folder) in succeeded(core("runs", "export", run.id, folder)).stdout.replace("\n", "")
    exported = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    reopened = reopen(run.id, store).model.state_dict()
    assert exported.keys() == reopened.keys()
    assert all(torch.equal(exported[name], reopened[name]) for name in reopened)
    assert str(folder) in sentence(core("runs", "export", run.id, folder))
    succeeded(core("runs", "export", run.id, folder, "--overwrite"))

    succeeded(core("runs", "delete", run.id))
    assert store.runs() == []
    assert run.id not in succeeded(core("runs", "list")).stdout


def test_show_says_why_a_run_has_no_result(tiny_folder: Folders, texts: Texts, store: Store) -> None:
    core("prune", *run_options(tiny_folder(), texts, evaluation_corpus=texts["short"]))
    runs = store.runs()
    assert runs  # a text is tokenized only when its run is under way
    shown = succeeded(core("runs", "show", runs[0].id)).stdout.replace("\n", " ")
    assert "failed" in shown
    assert "evaluation" in shown


def test_a_run_that_was_killed_is_shown_as_interrupted(
    store: Store, tiny_folder: Folders, texts: Texts, config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that ran it is gone; tests of the store kill a real one."""
    host, _, started = json.loads(liveness.this_process())
    gone = subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout
    with monkeypatch.context() as patch:
        patch.setattr(liveness, "this_process", lambda: json.dumps([host, int(gone), started]))
        attempt, _ = store.submit(config(), identify(config()))
        store.start(attempt.id)
    assert store.attempt(attempt.id).status == "running"
    assert "interrupted" in succeeded(core("runs", "show", attempt.run_id)).stdout
    succeeded(core("prune", *run_options(tiny_folder(), texts)))
    assert [one.status for one in store.attempts(attempt.run_id)] == ["interrupted", "finished"]


def test_control_c_cancels(store: Store, tiny_folder: Folders, texts: Texts, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("core.execution.prune_model", interrupt)
        result = core("prune", *run_options(tiny_folder(), texts))
    assert result.exit_code == 130
    assert "Traceback" not in result.output
    assert [run.status for run in store.runs()] == ["cancelled"]


def test_methods_lists_what_is_registered_in_a_real_process(home: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    command = [sys.executable, "-m", "core", "methods"]
    listed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=100)
    for cls in Method.registry.classes():
        assert cls.name in listed.stdout
        assert cls.title in listed.stdout
        for parameter in cls.model_fields:
            assert parameter in listed.stdout
    assert {"magnitude", "wanda", "sparsegpt"} <= set(Method.registry)
    assert listed.stderr == ""
    assert not home.exists()


# What is refused ------------------------------------------------------------------------------------------------------


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _without(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).unlink()
    return folder


class Place:
    """What a bad input is made from."""

    def __init__(self, tmp_path: Path, own: Path, bin_only: Path) -> None:
        self.tmp_path, self.own, self.bin_only = tmp_path, own, bin_only

    def text(self, content: bytes) -> Path:
        return _file(self.tmp_path / "bad.txt", content)

    def empty_folder(self) -> Path:
        (self.tmp_path / "empty").mkdir()
        return self.tmp_path / "empty"


Bad = tuple[Callable[[Place], dict[str, Any]], list[str]]
BAD_INPUT: dict[str, Bad] = {
    "model that is no id": (lambda at: {"model": "no such model!"}, ["model", "no such model!"]),
    "model folder that does not exist": (lambda at: {"model": "./missing-folder"}, ["model", "missing-folder"]),
    "folder without a model": (lambda at: {"model": at.empty_folder()}, ["model", "empty", "config.json"]),
    "folder without weights": (
        lambda at: {"model": _without(at.own, "model.safetensors")},
        ["model", "own-model", "weights"],
    ),
    "folder without a tokenizer": (
        lambda at: {"model": _without(at.own, "tokenizer.json", "tokenizer_config.json")},
        ["model", "own-model", "tokenizer"],
    ),
    "config.json that is no JSON": (
        lambda at: {"model": _file(at.own / "config.json", b"{").parent},
        ["model", "own-model"],
    ),
    "config.json of no known architecture": (
        lambda at: {"model": _file(at.own / "config.json", b'{"model_type": "nothing-known"}').parent},
        ["model", "own-model"],
    ),
    "config.json of no language model": (
        lambda at: {"model": _file(at.own / "config.json", b'{"model_type": "vit"}').parent},
        ["model", "own-model"],
    ),
    "truncated weights": (
        lambda at: {"model": _file(at.own / "model.safetensors", b"\x10\0\0\0\0\0\0\0{").parent},
        ["model", "own-model"],
    ),
    ".bin-only folder": (lambda at: {"model": at.bin_only}, ["model", ".bin", "--allow-bin"]),
    "sparsity 1.2": (lambda at: {"sparsity": "1.2"}, ["sparsity", "1.2", "[0, 1)"]),
    "sparsity 1": (lambda at: {"sparsity": "1"}, ["sparsity", "1", "[0, 1)"]),
    "sparsity -0.1": (lambda at: {"sparsity": "-0.1"}, ["sparsity", "-0.1", "[0, 1)"]),
    "sparsity nan": (lambda at: {"sparsity": "nan"}, ["sparsity", "nan"]),
    "sparsity abc": (lambda at: {"sparsity": "abc"}, ["sparsity", "abc"]),
    "N = M": (lambda at: {"sparsity": "4:4"}, ["4:4", "N < M"]),
    "N > M": (lambda at: {"sparsity": "4:2"}, ["4:2", "N < M"]),
    "N = 0": (lambda at: {"sparsity": "0:4"}, ["0"]),
    "in % M != 0": (lambda at: {"sparsity": "3:5"}, ["3:5", "32", "layers.0"]),
    "sparsity against pattern": (
        lambda at: {"sparsity": "0.6", "pattern": "2:4"},
        ["sparsity", "0.6", "2:4", "contradicts"],
    ),
    "two patterns": (lambda at: {"sparsity": "2:4", "pattern": "1:4"}, ["sparsity", "2:4", "pattern"]),
    "unknown pattern": (lambda at: {"pattern": "unstructred"}, ["pattern", "unstructred", "unstructured"]),
    "calibration beyond the maximum": (lambda at: {"calibration_seqlen": "65"}, ["calibration.seqlen", "65", "64"]),
    "evaluation beyond the maximum": (lambda at: {"evaluation_seqlen": "100"}, ["evaluation.seqlen", "100", "64"]),
    "no windows": (lambda at: {"calibration_windows": "0"}, ["calibration.windows", "0"]),
    "windows that are no number": (lambda at: {"calibration_windows": "many"}, ["calibration.windows", "many"]),
    "empty calibration text": (lambda at: {"calibration_corpus": at.text(b"")}, ["bad.txt", "empty"]),
    "empty evaluation text": (lambda at: {"evaluation_corpus": at.text(b" \n")}, ["bad.txt", "empty"]),
    "text that does not exist": (lambda at: {"evaluation_corpus": at.tmp_path / "none.txt"}, ["none.txt"]),
    "text that is a folder": (lambda at: {"evaluation_corpus": at.tmp_path}, [str(Path("/"))]),
    "text that is not UTF-8": (
        lambda at: {"calibration_corpus": at.text("déjà vu".encode("latin-1"))},
        ["bad.txt", "UTF-8"],
    ),
    "JSON lines without the field": (
        lambda at: {"evaluation_corpus": _file(at.tmp_path / "bad.jsonl", b'{"words": "a"}')},
        ["bad.jsonl", "'text'", "words"],
    ),
    "field of a text that has none": (
        lambda at: {"calibration_corpus_field": "words"},
        ["--calibration-corpus-field", "calibration corpus 'text'"],
    ),
    "unknown corpus": (lambda at: {"evaluation_corpus": "wikitext"}, ["wikitext", "Did you mean 'wikitext2'"]),
    "pasted nothing": (lambda at: {"evaluation_corpus": "pasted"}, ["pasted", "empty"]),
    "unknown method": (lambda at: {"method": "wandaa"}, ["method", "wandaa", "Did you mean 'wanda'"]),
    "unknown allocation": (lambda at: {"allocation": "unform"}, ["allocation", "unform", "uniform"]),
    "option of another method": (
        lambda at: {"method": "wanda", "method_blocksize": "64"},
        ["--method-blocksize", "wanda"],
    ),
    "option out of its range": (lambda at: {"method": "sparsegpt", "method_damping": "-1"}, ["damping", "-1"]),
    "option of another source": (lambda at: {"revision": "main"}, ["--revision"]),
    "option of another pattern": (lambda at: {"pattern": "2:4", "pattern_group": "output"}, ["--pattern-group"]),
    "device that torch does not know": (lambda at: {"device": "abacus"}, ["device", "abacus"]),
    "device that is not here": (lambda at: {"device": "cuda:77"}, ["device", "cuda:77"]),
    "device that is no word": (lambda at: {"device": "GPU #1"}, ["device", "GPU #1"]),
    "device without data": (lambda at: {"device": "meta"}, ["device", "meta"]),
    "dtype": (lambda at: {"dtype": "float8"}, ["dtype", "float8"]),
    "json in no folder": (lambda at: {"json": at.tmp_path / "none" / "run.json"}, ["json", "none"]),
    "config that does not exist": (lambda at: {"config": at.tmp_path / "none.json"}, ["config", "none.json"]),
    "config beside options": (lambda at: {"config": _file(at.tmp_path / "c.json", b"{}")}, ["--config"]),
}
FOUND_WHEN_LOADING = ("truncated weights", "folder without a tokenizer")
TOLD_BY_CLICK = ("dtype", "config that does not exist")  # with a line on the usage before the sentence


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_sentence_before_there_is_a_run(
    name: str, tiny_folder: Folders, own_folder: Path, texts: Texts, tmp_path: Path, store: Store
) -> None:
    make, words = BAD_INPUT[name]
    changes = make(Place(tmp_path, own_folder, tiny_folder(bin_only=True)))
    result = core("prune", *run_options(tiny_folder(), texts, **changes))
    message = sentence(result, progress=name in FOUND_WHEN_LOADING + TOLD_BY_CLICK)
    for word in words:
        assert word in message
    if name not in FOUND_WHEN_LOADING:
        assert store.runs() == []
    elif store.runs():
        assert [(run.status, run.attempt.message) for run in store.runs()] == [("failed", message)]


def test_the_same_text_as_a_file_as_documents_and_pasted(
    tiny_folder: Folders, texts: Texts, tmp_path: Path, store: Store
) -> None:
    documents = texts["evaluation"].read_text().split("\n\n")
    lines = "".join(json.dumps({"words": document}) + "\n" for document in documents)
    ways: dict[str, dict[str, Any]] = {
        "text": {"evaluation_corpus": _file(tmp_path / "a.txt", "\n\n".join(documents).encode())},
        "documents": {
            "evaluation_corpus": _file(tmp_path / "a.jsonl", lines.encode()),
            "evaluation_corpus_field": "words",
        },
        "pasted": {"evaluation_corpus": "pasted", "evaluation_corpus_content": "\n\n".join(documents)},
    }
    for way in ways.values():
        assert core("prune", *run_options(tiny_folder(), texts, **way)).exit_code == 0
    runs = {run.config.evaluation.corpus.name: run for run in store.runs()}
    assert runs.keys() == ways.keys()
    assert len({run.result.perplexity.value for run in runs.values() if run.result}) == 1


@pytest.mark.parametrize("purpose", ["calibration", "evaluation"])
def test_a_text_that_is_too_short(tiny_folder: Folders, texts: Texts, store: Store, purpose: str) -> None:
    """Found out when the text is tokenized: before the model's weights are loaded."""
    options = run_options(tiny_folder(), texts, **{f"{purpose}_corpus": texts["short"]})
    message = sentence(core("prune", *options), progress=True)
    for word in (f"{purpose}.seqlen", str(SEQLEN), "tokens"):
        assert word in message
    assert "unexpected" not in message.lower()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"not json", ["not JSON"]),
        (b"\xff\xfe", ["not JSON"]),
        (b"[]", ["input"]),
        (b'{"sparsty": 0.5}', ["sparsty"]),
        (b'{"method": {"method": "wandaa"}}', ["wandaa"]),
        (b'{"method": "wanda", "sparsity": 7}', ["sparsity", "7"]),
        (b'{"calibration": {"windows": -1}}', ["calibration.windows", "-1"]),
    ],
)
def test_a_config_file_that_is_wrong(tmp_path: Path, store: Store, content: bytes, words: list[str]) -> None:
    message = sentence(core("prune", "--config", _file(tmp_path / "config.json", content)))
    for word in words:
        assert word in message
    assert store.runs() == []


@pytest.mark.parametrize("command", ["show", "export", "delete"])
def test_a_run_that_does_not_exist(store: Store, tmp_path: Path, command: str) -> None:
    arguments = [tmp_path / "folder"] if command == "export" else []
    message = sentence(core("runs", command, "0123456789abcdef", *arguments))
    assert "0123456789abcdef" in message
    assert not (tmp_path / "folder").exists()


def test_exporting_a_run_without_a_result(store: Store, tmp_path: Path, config: Callable[..., RunConfig]) -> None:
    unfinished = config()
    attempt, _ = store.submit(unfinished, identify(unfinished))
    message = sentence(core("runs", "export", attempt.run_id, tmp_path / "folder"))
    assert attempt.run_id in message
    assert "not finished" in message


def test_the_same_run_active_elsewhere_is_refused(
    store: Store, tiny_folder: Folders, texts: Texts, tmp_path: Path, config: Callable[..., RunConfig]
) -> None:
    same = config()
    attempt, _ = store.submit(same, identify(same))
    store.start(attempt.id)
    message = sentence(core("prune", *run_options(tiny_folder(), texts)), progress=True)
    assert attempt.run_id in message
    assert "running" in message
    assert [a.status for a in store.attempts(attempt.run_id)] == ["running"]
    other = succeeded(core("prune", *run_options(tiny_folder(), texts, calibration_seed=1)))
    assert other.exit_code == 0


def test_a_bin_only_folder_loads_with_the_switch(tiny_folder: Folders, texts: Texts, store: Store) -> None:
    options = run_options(tiny_folder(bin_only=True), texts)
    succeeded(core("prune", *options, "--allow-bin"))
    succeeded(core("prune", *run_options(tiny_folder(), texts)))
    one, other = (run.result for run in store.runs())
    assert one is not None
    assert other is not None
    assert one.perplexity.value == other.perplexity.value


def test_a_bin_file_beside_other_safetensors_needs_the_switch_too(
    own_folder: Path, tiny_folder: Folders, texts: Texts
) -> None:
    """An adapter, say: the weights themselves are in the .bin file all the same."""
    (own_folder / "model.safetensors").rename(own_folder / "adapter_model.safetensors")
    shutil.copy(tiny_folder(bin_only=True) / "pytorch_model.bin", own_folder)
    message = sentence(core("prune", *run_options(own_folder, texts)), progress=True)
    assert "own-model" in message


class Bomb:
    """Runs a command when it is unpickled by anything but weights-only loading."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self._marker}'",)


def test_a_bin_file_never_executes_code(tiny_folder: Folders, own_folder: Path, texts: Texts, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    state = load_file(own_folder / "model.safetensors")
    (own_folder / "model.safetensors").unlink()
    torch.save(state | {"bomb": Bomb(marker)}, own_folder / "pytorch_model.bin")
    result = core("prune", *run_options(own_folder, texts), "--allow-bin")
    assert not marker.exists()
    assert "own-model" in sentence(result, progress=True)


def test_weights_that_are_missing_are_not_made_up(own_folder: Path, texts: Texts, store: Store) -> None:
    """transformers would draw them at random, so that every number would be chance."""
    state = load_file(own_folder / "model.safetensors")
    del state["model.layers.1.mlp.down_proj.weight"]
    save_file(state, own_folder / "model.safetensors", metadata={"format": "pt"})
    message = sentence(core("prune", *run_options(own_folder, texts)), progress=True)
    assert "own-model" in message
    assert [run.result for run in store.runs()] in ([], [None])


def test_weights_of_another_shape_are_one_sentence(own_folder: Path, texts: Texts) -> None:
    state = load_file(own_folder / "model.safetensors")
    state["model.layers.1.mlp.down_proj.weight"] = torch.zeros(32, 63)
    save_file(state, own_folder / "model.safetensors", metadata={"format": "pt"})
    assert "own-model" in sentence(core("prune", *run_options(own_folder, texts)), progress=True)


def test_a_failure_nobody_foresaw_is_told_and_kept(
    tiny_folder: Folders, texts: Texts, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any) -> Any:
        raise RuntimeError("The flux capacitor is empty.")

    monkeypatch.setattr("core.execution.prune_model", broken)
    result = core("prune", *run_options(tiny_folder(), texts))
    assert result.exit_code not in (0, 2)
    (run,) = store.runs()
    assert run.status == "failed"
    assert "The flux capacitor is empty." in run.attempt.message
    assert "\n" not in run.attempt.message
