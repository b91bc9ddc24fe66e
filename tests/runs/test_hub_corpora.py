"""Corpora of a hub: the literature's files, pinned to a commit, no more downloaded than needed, and still there without it."""

import gzip
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from core.store import Store
from tests.runs import hub_server
from tests.runs.hub_server import NO_ONE, Hub, Machine, Repo, environment
from tests.runs.material import SEQLEN, run_options, sentence, sentences
from tests.runs.peer import Peer
from tests.runs.test_hub import succeeded

WIKITEXT, C4, PTB = "datasets/Salesforce/wikitext", "datasets/allenai/c4", "datasets/ptb-text-only/ptb_text_only"
BRANCH = {WIKITEXT: "main", C4: "main", PTB: "refs/convert/parquet"}
ROWS = {
    "wikitext2": {"train": ["", " = A river = \n", sentences(200, 1)], "test": ["", sentences(120, 2), ""]},
    "ptb": {
        "train": [f" {sentences(1, seed)} " for seed in range(200)],
        "test": [sentences(1, 500), "the <unk> rose N"],
    },
    "c4": {
        "train": [sentences(1 + number % 30, number) for number in range(300)],
        "validation": [sentences(2, 1000 + number) for number in range(1150)],
    },
}
Process = Callable[..., Peer]
WITHOUT = "the hub does not answer and the corpus is not in the local cache"


def parquet(file: Path, field: str, rows: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({field: rows}).to_parquet(file)


def shard(file: Path, rows: list[str]) -> None:
    """Lines as C4 has them, gzipped in two pieces."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": row, "timestamp": "2019", "url": "u"}) + "\n" for row in rows]
    half = len(lines) // 2
    file.write_bytes(b"".join(gzip.compress("".join(part).encode(), 1) for part in (lines[:half], lines[half:])))


@contextmanager
def at(repo: Repo, folder: Path) -> Iterator[str]:
    """The repository with another commit; the branch comes back afterwards."""
    old = repo.main
    try:
        yield repo.push(folder)
    finally:
        repo.main = old


def publish(folder: Path) -> dict[str, Path]:
    """The data sets' files as the hub has them, a folder for each repository."""
    for split in ("train", "test"):
        parquet(
            folder / WIKITEXT / f"wikitext-2-raw-v1/{split}-00000-of-00001.parquet", "text", ROWS["wikitext2"][split]
        )
        parquet(folder / PTB / f"penn_treebank/{split}/0000.parquet", "sentence", ROWS["ptb"][split])
    shard(folder / C4 / "en/c4-train.00000-of-01024.json.gz", ROWS["c4"]["train"])
    shard(folder / C4 / "en/c4-validation.00000-of-00008.json.gz", ROWS["c4"]["validation"])
    return {name: folder / name for name in BRANCH}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hub-corpora")


@pytest.fixture(scope="module")
def kept(place: Path) -> Path:
    """A cache of our own: others of these tests find nothing in it."""
    return place / "kept"


@pytest.fixture(scope="module")
def hub(place: Path) -> Iterator[Hub]:
    with hub_server.serve() as hub:
        for name, folder in publish(place / "published").items():
            hub.add(name, folder, branch=BRANCH[name])
        yield hub


@pytest.fixture(scope="module")
def machine(hub: Hub, place: Path, kept: Path) -> Iterator[Machine]:
    machine = Machine(place, kept, hub.address)
    yield machine
    machine.close()


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., Peer]]:
    """A factory of processes that have downloaded nothing, or what others in the same ``place`` have."""
    peers: list[Peer] = []

    def start(hub: str, place: Path = tmp_path, cache: Path = tmp_path / "cache", **variables: str) -> Peer:
        peers.append(Peer(tmp_path / "home", **(environment(place, cache, hub) | variables)))
        return peers[-1]

    yield start
    for peer in peers:
        peer.close()


@pytest.mark.parametrize(
    ("corpus", "purpose", "split", "repo", "documents"),
    [
        ("wikitext2", "calibration", "train", WIKITEXT, 3),
        ("wikitext2", "evaluation", "test", WIKITEXT, 3),
        ("ptb", "calibration", "train", PTB, 200),
        ("ptb", "evaluation", "test", PTB, 2),
        ("c4", "calibration", "train", C4, 300),
        ("c4", "evaluation", "validation", C4, 1100),
    ],
)
def test_the_hubs_rows_and_commit(
    machine: Machine, hub: Hub, corpus: str, purpose: str, split: str, repo: str, documents: int
) -> None:
    found = machine.ask("read_corpus", corpus, purpose)
    assert found["documents"] == ROWS[corpus][split][:documents]
    assert found["fingerprint"] == f"{repo.removeprefix('datasets/')}@{hub.repos[repo].main}, reading 1"
    assert split in found["label"]
    assert "local" not in found["label"]


def test_the_hub_is_asked_once(machine: Machine, hub: Hub) -> None:
    """Pages look a config up every few seconds."""
    machine.ask("read_corpus", "wikitext2", "evaluation")
    before = list(hub.log)
    again = machine.ask("read_corpus", "wikitext2", "evaluation")
    assert hub.log == before
    assert again["seconds"] < 0.1


def test_a_run_says_what_it_read_and_local_copies_give_the_same_numbers(
    machine: Machine, hub: Hub, home: Path, tmp_path: Path, tiny_folder: Callable[..., Path], texts: dict[str, Path]
) -> None:
    def prune(report: str, *more: str) -> dict[str, Any]:
        corpora = {"calibration_corpus": "c4", "evaluation_corpus": "wikitext2"}
        options = run_options(tiny_folder(), texts, method="wanda", json=tmp_path / report, **corpora)
        succeeded(machine.core("--home", home, "prune", *options))
        return dict(json.loads((tmp_path / report).read_text()))

    first = prune("hub.json")
    assert first["identity"]["calibration_fingerprint"] == f"allenai/c4@{hub.repos[C4].main}, reading 1"
    assert first["identity"]["evaluation_fingerprint"] == f"Salesforce/wikitext@{hub.repos[WIKITEXT].main}, reading 1"
    assert first["result"]["calibrated_on"] == f"C4 (train), 4 × {SEQLEN} tokens"
    assert first["result"]["evaluated_on"] == f"WikiText-2 (test), 6 × {SEQLEN} tokens"

    copies = tmp_path / "copies"
    for corpus, split in (("c4", "train"), ("wikitext2", "test")):
        (copies / corpus).mkdir(parents=True)
        lines = "".join(json.dumps({"text": row}) + "\n" for row in ROWS[corpus][split])
        (copies / corpus / f"{split}.jsonl").write_text(lines)
    machine.ask("set_variable", "PRUNESCOPE_CORPORA", str(copies))
    second = prune("local.json")
    machine.ask("set_variable", "PRUNESCOPE_CORPORA", None)
    assert (second["perplexity"], second["dense_perplexity"]) == (first["perplexity"], first["dense_perplexity"])
    assert second["run_id"] != first["run_id"]
    assert second["result"]["evaluated_on"].startswith("WikiText-2 (test, local copy), ")
    assert second["identity"]["calibration_fingerprint"].startswith("local copy")


def test_a_run_stays_on_what_it_read_though_the_branch_moved_on(
    machine: Machine,
    hub: Hub,
    home: Path,
    tmp_path: Path,
    tiny_folder: Callable[..., Path],
    texts: dict[str, Path],
    store: Store,
) -> None:
    """Its updated weights were deleted, so exporting it calibrates again."""
    corpora = {"calibration_corpus": "wikitext2", "evaluation_corpus": texts["evaluation"]}
    options = run_options(tiny_folder(), texts, method="sparsegpt", **corpora)
    succeeded(
        machine.core("--home", home, "prune", *options, "--save", tmp_path / "saved", "--json", tmp_path / "run.json")
    )
    run = json.loads((tmp_path / "run.json").read_text())["run_id"]
    store.delete_weights(run)
    folder = publish(tmp_path / "moved")[WIKITEXT]
    parquet(folder / "wikitext-2-raw-v1/train-00000-of-00001.parquet", "text", [sentences(200, 77)])
    with at(hub.repos[WIKITEXT], folder):
        machine.ask("forget_commits")
        assert machine.ask("read_corpus", "wikitext2", "calibration")["documents"] == [sentences(200, 77)]
        succeeded(machine.core("--home", home, "runs", "export", run, tmp_path / "exported"))
    machine.ask("forget_commits")
    saved, exported = (tmp_path / name / "model.safetensors" for name in ("saved", "exported"))
    assert saved.read_bytes() == exported.read_bytes()


def test_a_run_says_which_texts_it_downloads(
    hub: Hub,
    process: Process,
    cache: Path,
    tmp_path: Path,
    home: Path,
    tiny_folder: Callable[..., Path],
    texts: dict[str, Path],
    store: Store,
) -> None:
    peer, told = process(hub.address), []
    for sparsity in ("0.5", "2:4"):
        corpora = {"calibration_corpus": "c4", "evaluation_corpus": "wikitext2"}
        options = run_options(tiny_folder(), texts, sparsity=sparsity, **corpora)
        result = peer.ask("cli", "--home", str(home), "prune", *map(str, options))
        assert result["exit_code"] == 0, result
        (first, *_) = (event for _, event in store.events(store.runs()[0].attempt.id))
        told.append(first.model_dump()["phase"])
    assert told == ["Downloading from the Hugging Face hub: C4 (train), WikiText-2 (test)", "Reading the text"]


def test_a_text_of_a_run_is_measured_as_the_run_had_it_though_the_branch_moved_on(
    hub: Hub,
    process: Process,
    home: Path,
    tmp_path: Path,
    tiny_folder: Callable[..., Path],
    texts: dict[str, Path],
) -> None:
    """Its dense model's losses were lost; what is measured now is the text of the run's commit, not the hub's newest."""
    options = run_options(tiny_folder(), texts, evaluation_corpus="wikitext2", json=tmp_path / "run.json")
    first = process(hub.address)

    def core(peer: Peer, *words: Any) -> dict[str, Any]:
        result = dict(peer.ask("cli", "--home", str(home), *map(str, words)))
        assert result["exit_code"] == 0, result
        return result

    core(first, "prune", *options)
    run = json.loads((tmp_path / "run.json").read_text())
    for file in home.rglob("perplexity/*.safetensors"):
        file.unlink()
    folder = publish(tmp_path / "moved")[WIKITEXT]
    parquet(folder / "wikitext-2-raw-v1/test-00000-of-00001.parquet", "text", [sentences(200, 78)])
    with at(hub.repos[WIKITEXT], folder):
        later = process(hub.address)
        assert later.ask("read_corpus", "wikitext2", "evaluation")["documents"] == [sentences(200, 78)]
        core(later, "evaluate", "--run", run["run_id"], "--out", tmp_path / "table.json")
    (row,) = json.loads((tmp_path / "table.json").read_text())
    assert (row["dense"], row["pruned"]) == pytest.approx((run["dense_perplexity"], run["perplexity"]), rel=1e-6)


def test_of_a_large_shard_only_the_beginning_is_downloaded(hub: Hub, process: Process, tmp_path: Path) -> None:
    """60 MB that do not compress; the 1,100 documents are 1.2 MB of it."""
    file = tmp_path / "large" / "en/c4-validation.00000-of-00008.json.gz"
    file.parent.mkdir(parents=True)
    line = json.dumps({"text": "w" * 1100}).encode() + b"\n"
    file.write_bytes(gzip.compress(line * 55_000, 0))
    with at(hub.repos[C4], tmp_path / "large") as commit:
        found = process(hub.address).ask("read_corpus", "c4", "evaluation")
    assert found["documents"] == ["w" * 1100] * 1100
    assert file.stat().st_size > 60e6
    assert 1e6 < sum(size for path, size in hub.sent.items() if commit in path) < 20e6


@pytest.mark.parametrize("variables", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_without_a_hub_it_fails_at_once_and_names_the_local_alternative(
    process: Process, tmp_path: Path, variables: dict[str, str]
) -> None:
    peer = process(NO_ONE, PRUNESCOPE_CORPORA=str(tmp_path), **variables)
    for corpus, purpose, split in (("wikitext2", "evaluation", "test"), ("c4", "calibration", "train")):
        found = peer.ask("read_corpus", corpus, purpose)
        assert found["refused"].startswith(f"corpus = {corpus!r} cannot be reached: {WITHOUT}; ")
        assert (
            f"put a local copy as {tmp_path}/{corpus}/{split}.jsonl, or choose the embedded corpus" in found["refused"]
        )
        assert found["seconds"] < 2


def test_a_hub_that_never_answers_is_not_waited_for(process: Process) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = process(f"http://127.0.0.1:{silent.getsockname()[1]}").ask("read_corpus", "ptb", "evaluation")
    assert WITHOUT in found["refused"]
    assert found["seconds"] < 8  # 3 of them because huggingface_hub asks for something of its own, once a process


@pytest.mark.parametrize("variables", [{}, {"HF_HUB_OFFLINE": "1"}])
def test_what_was_downloaded_works_without_a_hub(
    machine: Machine, process: Process, place: Path, kept: Path, variables: dict[str, str]
) -> None:
    lonely = process(NO_ONE, place, kept, **variables)
    for corpus, purpose in (("wikitext2", "evaluation"), ("c4", "evaluation"), ("ptb", "calibration")):
        before, after = (peer.ask("read_corpus", corpus, purpose) for peer in (machine, lonely))
        assert "documents" in after
        assert {**after, "seconds": 0} == {**before, "seconds": 0}
        assert after["seconds"] < 2


def test_what_was_only_looked_up_since_does_not_hide_what_was_downloaded(
    machine: Machine, hub: Hub, process: Process, place: Path, kept: Path, tmp_path: Path
) -> None:
    before = machine.ask("read_corpus", "wikitext2", "evaluation")
    with at(hub.repos[WIKITEXT], publish(tmp_path / "newer")[WIKITEXT]) as newer:
        assert newer in process(hub.address, place, kept).ask("look_up", "wikitext2", "evaluation")
    after = process(NO_ONE, place, kept).ask("read_corpus", "wikitext2", "evaluation")
    assert {**after, "seconds": 0} == {**before, "seconds": 0}


def test_what_another_program_downloaded_works_without_a_hub(hub: Hub, process: Process, tmp_path: Path) -> None:
    code = (
        "from huggingface_hub import hf_hub_download; hf_hub_download('ptb-text-only/ptb_text_only', "
        "'penn_treebank/test/0000.parquet', repo_type='dataset', revision='refs/convert/parquet')"
    )
    variables = environment(tmp_path, tmp_path / "cache", hub.address)
    subprocess.run([sys.executable, "-c", code], env=os.environ | variables, check=True)
    lonely = process(NO_ONE)
    found = lonely.ask("read_corpus", "ptb", "evaluation")
    assert found["documents"] == ROWS["ptb"]["test"]
    assert hub.repos[PTB].main in found["fingerprint"]
    other = lonely.ask("read_corpus", "ptb", "calibration")  # of which nothing was downloaded
    assert WITHOUT in other["refused"]
    assert other["seconds"] < 2


def test_a_download_that_breaks_off_leaves_nothing_behind(hub: Hub, process: Process, tmp_path: Path) -> None:
    peer = process(hub.address)
    hub.cut = (".json.gz",)
    try:
        found = peer.ask("read_corpus", "c4", "evaluation")
    finally:
        hub.cut = ()
    assert found["refused"].startswith("corpus = 'c4' ")
    assert list((tmp_path / "cache" / "corpora").iterdir()) == []
    assert len(peer.ask("read_corpus", "c4", "evaluation")["documents"]) == 1100


REFUSED = {
    "gone": (hub_server.NOT_FOUND, ["corpus = 'ptb' is not on the hub any more", "ptb-text-only/ptb_text_only"]),
    "gated": (hub_server.GATED, ["corpus = 'ptb' is gated", "HF_TOKEN"]),
    "a hub in trouble": (hub_server.BROKEN, ["corpus = 'ptb'", "the hub answered 500"]),
}


def test_what_the_hub_refuses_is_one_sentence(hub: Hub, process: Process, tmp_path: Path) -> None:
    peer, repo = process(hub.address), hub.repos[PTB]
    for refusal, words in REFUSED.values():
        repo.refuse = refusal
        try:
            found = peer.ask("read_corpus", "ptb", "evaluation")
        finally:
            repo.refuse = None
        for word in words:
            assert word in found["refused"]
        assert found["seconds"] < 2
    (tmp_path / "empty").mkdir()
    with at(hub.repos[WIKITEXT], tmp_path / "empty"):
        found = peer.ask("read_corpus", "wikitext2", "evaluation")
    assert found["refused"].startswith(
        "corpus = 'wikitext2' is not on the hub any more as wikitext-2-raw-v1/test-00000"
    )


def test_on_the_command_line_it_is_told_before_there_is_a_run(
    machine: Machine, home: Path, store: Store, tiny_folder: Callable[..., Path], texts: dict[str, Path]
) -> None:
    machine.ask("set_variable", "PRUNESCOPE_CORPORA", "/none")
    options = run_options(tiny_folder(), texts, evaluation_corpus="c4")
    message = sentence(machine.core("--home", home, "prune", *options))
    machine.ask("set_variable", "PRUNESCOPE_CORPORA", None)
    assert message == "PRUNESCOPE_CORPORA = '/none' is not a folder; create it, or unset the variable."
    assert store.runs() == []
