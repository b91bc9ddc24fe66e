"""Models of a hub: found, pinned, refused in one sentence, never executed, and still there when the hub is not."""

import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.events import PhaseStarted
from core.store import Store
from tests.runs import hub_server
from tests.runs.hub_server import NO_ONE, Hub, Machine
from tests.runs.material import run_options, sentence

Core = Callable[..., SimpleNamespace]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub")


@pytest.fixture(scope="module")
def hub(place: Path, tiny_folder: Callable[..., Path]) -> Iterator[Hub]:
    with hub_server.serve() as hub:
        hub.add("tiny/open", tiny_folder())
        hub.add("tiny/gated", tiny_folder(), refuse=hub_server.GATED)
        # What the real hub does: everyone may look a gated model up, its files are refused.
        hub.add("tiny/gated-files", tiny_folder(), refuse_files=hub_server.GATED)
        hub.add("tiny/private", tiny_folder(), refuse=hub_server.UNAUTHORISED)
        hub.add("tiny/denied", tiny_folder(), refuse=hub_server.DENIED)
        hub.add("tiny/broken", tiny_folder(), refuse=hub_server.BROKEN)
        hub.add("tiny/bin", tiny_folder(bin_only=True))
        no_weights = shutil.copytree(tiny_folder(), place / "no-weights")
        (no_weights / "model.safetensors").unlink()
        hub.add("tiny/no-weights", no_weights)
        hub.add("tiny/code", _with_code(tiny_folder(), place / "code", "llama", place / "executed"))
        hub.add("tiny/code-only", _with_code(tiny_folder(), place / "code-only", "own-kind", place / "executed"))
        yield hub


def _with_code(model: Path, folder: Path, kind: str, marker: Path) -> Path:
    """A copy of ``model`` that brings its own Python for config, model and tokenizer; whoever runs it leaves a mark."""
    shutil.copytree(model, folder)
    config = json.loads((folder / "config.json").read_text())
    classes = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": kind, "auto_map": classes}))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    own = {"auto_map": {"AutoTokenizer": [None, "own.OwnTokenizer"]}}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | own))
    (folder / "own.py").write_text(
        f"from pathlib import Path\nPath({str(marker)!r}).touch()\n"
        "from transformers import LlamaConfig as OwnConfig, LlamaForCausalLM as OwnModel\n"
        "from transformers import PreTrainedTokenizerFast as OwnTokenizer\n"
    )
    return folder


@pytest.fixture(scope="module")
def machine(hub: Hub, place: Path, cache: Path) -> Iterator[Machine]:
    machine = Machine(place, cache, hub.address)
    yield machine
    machine.close()


@pytest.fixture(scope="module")
def lonely(machine: Machine, place: Path, cache: Path, texts: dict[str, Path]) -> Iterator[Machine]:
    """A process whose hub does not answer, with what the other one has downloaded of tiny/open."""
    options = run_options(Path("tiny/open"), texts, calibration_seed=99)
    assert machine.core("--home", place / "home", "prune", *options).exit_code == 0
    lonely = Machine(place, cache, NO_ONE)
    yield lonely
    lonely.close()


@pytest.fixture
def prune(machine: Machine, home: Path, texts: dict[str, Path]) -> Core:
    def prune(model: str, *more: Any, by: Machine = machine, **changes: Any) -> SimpleNamespace:
        return by.core("--home", home, "prune", *run_options(Path(model), texts, **changes), *more)

    return prune


def succeeded(result: SimpleNamespace) -> SimpleNamespace:
    assert result.exit_code == 0, f"{result.output}\n{result.exception}"
    return result


def test_a_model_of_the_hub_end_to_end(
    prune: Core, hub: Hub, machine: Machine, home: Path, store: Store, tmp_path: Path, tiny_folder: Callable[..., Path]
) -> None:
    """Its commit is part of the run; when the branch moves on, the run stays what it was and a repeat is another one."""
    repo = hub.add("tiny/moving", tiny_folder())
    first_commit = repo.main
    succeeded(prune("tiny/moving", method="sparsegpt", sparsity="2:4", json=tmp_path / "first.json"))
    first = json.loads((tmp_path / "first.json").read_text())
    assert first["identity"]["model_revision"] == first_commit
    assert first["config"]["model"]["revision"] == "main"
    succeeded(prune(str(tiny_folder()), method="sparsegpt", sparsity="2:4", json=tmp_path / "local.json"))
    local = json.loads((tmp_path / "local.json").read_text())
    assert (first["perplexity"], first["dense_perplexity"]) == (local["perplexity"], local["dense_perplexity"])

    changed = shutil.copytree(tiny_folder(), tmp_path / "changed")
    weights = load_file(changed / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"].mul_(2)
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    second_commit = repo.push(changed)
    assert second_commit != first_commit

    succeeded(machine.core("--home", home, "runs", "export", first["run_id"], tmp_path / "exported"))
    exported = load_file(tmp_path / "exported" / "model.safetensors")
    keep = store.mask(first["run_id"], "model.layers.0.mlp.up_proj")
    survivors = store.survivors(first["run_id"])
    assert survivors is not None
    up = exported["model.layers.0.mlp.up_proj.weight"]
    assert torch.equal(up[keep], survivors["model.layers.0.mlp.up_proj"])
    assert torch.equal(exported["model.embed_tokens.weight"], weights["model.embed_tokens.weight"])

    succeeded(prune("tiny/moving", method="sparsegpt", sparsity="2:4", json=tmp_path / "second.json"))
    second = json.loads((tmp_path / "second.json").read_text())
    assert second["identity"]["model_revision"] == second_commit
    assert second["run_id"] != first["run_id"]
    assert second["dense_perplexity"] != first["dense_perplexity"]

    succeeded(prune("tiny/moving", revision=first_commit, json=tmp_path / "third.json"))
    third = json.loads((tmp_path / "third.json").read_text())
    assert third["identity"]["model_revision"] == first_commit
    assert third["dense_perplexity"] == first["dense_perplexity"]


REFUSED: dict[str, tuple[str, dict[str, str], list[str]]] = {
    "unknown": ("tiny/unknown", {}, ["model = 'tiny/unknown'", "not found"]),
    "unknown without an owner": ("unknown", {}, ["model = 'unknown'"]),
    "unknown or private": ("tiny/private", {}, ["model = 'tiny/private'", "HF_TOKEN"]),
    "gated": ("tiny/gated", {}, ["model = 'tiny/gated'", "gated", "HF_TOKEN"]),
    "gated files": ("tiny/gated-files", {}, ["model = 'tiny/gated-files'", "gated", "HF_TOKEN"]),
    "denied token": ("tiny/denied", {}, ["model = 'tiny/denied'", "HF_TOKEN"]),
    "a hub in trouble": ("tiny/broken", {}, ["model = 'tiny/broken'", "500"]),
    "unknown revision": ("tiny/open", {"revision": "nope"}, ["revision = 'nope'", "tiny/open"]),
    "unknown commit": ("tiny/open", {"revision": "0" * 40}, ["0" * 40, "tiny/open"]),
    ".bin only": ("tiny/bin", {}, ["model = 'tiny/bin'", ".bin", "--allow-bin"]),
    "no weights": ("tiny/no-weights", {}, ["model = 'tiny/no-weights'", "weights"]),
    "an id that cannot be": ("tiny/-bad--name", {}, ["tiny/-bad--name"]),
    "nothing but its own code": ("tiny/code-only", {}, ["model = 'tiny/code-only'"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_the_hub_refuses_is_one_sentence(prune: Core, store: Store, kind: str) -> None:
    model, options, words = REFUSED[kind]
    result = prune(model, **options)
    message = sentence(result)
    for word in words:
        assert word in message
    assert result.seconds < 5
    assert store.runs() == []


def test_nobody_is_told_to_trust_code(prune: Core) -> None:
    """There is no such switch here."""
    assert "trust_remote_code" not in sentence(prune("tiny/code-only"))


def test_a_bin_only_model_loads_with_the_switch_and_asks_nobody_to_convert_it(
    prune: Core, hub: Hub, store: Store
) -> None:
    """transformers would ask a public service to open a pull request at the model's repository."""
    succeeded(prune("tiny/bin", "--allow-bin"))
    assert hub.asked("resolve/") != []
    assert [line for line in hub.asked("tiny/bin") if "/commits" in line or "/discussions" in line] == []
    succeeded(prune("tiny/open"))
    one, other = (run.result for run in store.runs())
    assert one is not None
    assert other is not None
    assert one.perplexity.value == other.perplexity.value


@pytest.mark.parametrize("model", ["tiny/code", "tiny/code-only"])
def test_code_of_a_model_is_never_executed(prune: Core, hub: Hub, place: Path, model: str) -> None:
    result = prune(model)
    assert not (place / "executed").exists()
    assert [line for line in hub.log if line.endswith(".py")] == []
    assert (result.exit_code == 0) == (model == "tiny/code")


def test_code_of_a_local_folder_is_never_executed(prune: Core, place: Path, hub: Hub) -> None:
    succeeded(prune(str(place / "code")))
    message = sentence(prune(str(place / "code-only")))
    assert "code-only" in message
    assert not (place / "executed").exists()


def test_without_a_hub_it_fails_at_once(lonely: Machine, prune: Core, store: Store) -> None:
    result = prune("tiny/never-seen", by=lonely)
    message = sentence(result)
    for word in ("model = 'tiny/never-seen'", "cannot be reached", "cache"):
        assert word in message
    assert result.seconds < 5
    assert store.runs() == []


def test_without_a_hub_a_cached_model_works(lonely: Machine, prune: Core, hub: Hub, store: Store) -> None:
    """Under the branch's name, as it was asked for when the hub was there."""
    succeeded(prune("tiny/open", by=lonely, sparsity="2:4"))
    (run,) = store.runs()
    assert run.identity.model_revision == hub.repos["tiny/open"].main
    succeeded(prune("tiny/open", sparsity="2:4"))
    assert [run.attempt.number for run in store.runs()] == [2]  # the same run, with or without the hub


def test_without_a_hub_a_cached_commit_works(
    lonely: Machine, prune: Core, hub: Hub, store: Store, tmp_path: Path
) -> None:
    commit = hub.repos["tiny/open"].main
    result = succeeded(prune("tiny/open", by=lonely, revision=commit, save=tmp_path / "saved"))
    (run,) = store.runs()
    assert run.identity.model_revision == commit
    assert (tmp_path / "saved" / "model.safetensors").is_file()
    assert result.seconds < 10  # the hub is not asked again and again for what is here


@pytest.mark.parametrize("revision", ["main", "0" * 40])
def test_a_hub_that_never_answers_is_not_waited_for(
    prune: Core, tmp_path: Path, cache: Path, store: Store, revision: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        machine = Machine(tmp_path, cache, f"http://127.0.0.1:{silent.getsockname()[1]}")
        result = prune("tiny/never-seen", by=machine, revision=revision)
        machine.close()
    assert "model = 'tiny/never-seen' cannot be reached: the hub does not answer" in sentence(result)
    assert result.seconds < 12  # 3 of them because huggingface_hub asks for something of its own, once a process
    assert store.runs() == []


def test_a_commit_that_is_not_here_fails_at_once_without_a_hub(lonely: Machine, prune: Core, store: Store) -> None:
    result = prune("tiny/open", by=lonely, revision="1" * 40)
    assert "cannot be reached" in sentence(result)
    assert result.seconds < 5  # a download would try again for half a minute


def test_a_run_says_what_it_downloads(prune: Core, hub: Hub, store: Store, tiny_folder: Callable[..., Path]) -> None:
    hub.add("tiny/fresh", tiny_folder(), branch="main")
    told = []
    for sparsity in ("0.5", "2:4"):
        succeeded(prune("tiny/fresh", sparsity=sparsity))
        events = store.events(store.runs()[0].attempt.id)
        told.append([event.phase for _, event in events if isinstance(event, PhaseStarted)][:2])
    assert told == [
        ["Reading the text", "Downloading from the Hugging Face hub: tiny/fresh"],
        ["Reading the text", "Loading the model"],
    ]
