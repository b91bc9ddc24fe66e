"""A tiny model in a folder, a text, and a home of its own for every test of the run layer."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from core.api import make_config
from core.config import RunConfig
from core.settings import Settings
from core.store import Store
from tests import tiny_models
from tests.runs.material import run_parts, sentences

REAL_CACHE = Settings().cache


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([sentences(300, seed=0)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A factory: a tiny random model (2 blocks, hidden 32, at most 64 positions) with a real tokenizer as a folder.

    The folder is shared: a test that changes it copies it first.
    """
    made: dict[tuple[str, bool], Path] = {}

    def make(family: str = "llama", bin_only: bool = False) -> Path:
        if (family, bin_only) not in made:
            folder = tmp_path_factory.mktemp(f"{family}{'-bin' if bin_only else ''}")
            tokenizer = _tokenizer()
            changes = {"num_hidden_layers": 2} if family == "llama" else {}
            model = tiny_models.tiny_model(family, vocab_size=len(tokenizer), **changes)
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            if bin_only:
                (folder / "model.safetensors").unlink()
                torch.save(model.state_dict(), folder / "pytorch_model.bin")
            made[family, bin_only] = folder
        return made[family, bin_only]

    return make


@pytest.fixture
def own_folder(tiny_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of the tiny Llama that a test may change."""
    return shutil.copytree(tiny_folder(), tmp_path / "own-model")


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Text files: "calibration" and "evaluation" (some thousands of tokens, nothing shared), and "short" (some tokens)."""
    folder = tmp_path_factory.mktemp("texts")
    contents = {"calibration": sentences(600, seed=1), "evaluation": sentences(600, seed=2), "short": "Two words."}
    for name, content in contents.items():
        (folder / f"{name}.txt").write_text(content, encoding="utf-8")
    return {name: folder / f"{name}.txt" for name in contents}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache for all tests; the embedded model that a Dask worker loads when it starts is the installed one."""
    folder = tmp_path_factory.mktemp("cache")
    if (REAL_CACHE / "embedded").is_dir():
        (folder / "embedded").symlink_to(REAL_CACHE / "embedded")
    return folder


@pytest.fixture(autouse=True)
def home(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home for runs."""
    for name in [name for name in os.environ if name.startswith("PRUNESCOPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PRUNESCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PRUNESCOPE_CACHE", str(cache))
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    store = Store.open()
    yield store
    store.close()


@pytest.fixture
def config(tiny_folder: Callable[..., Path], texts: dict[str, Path]) -> Callable[..., RunConfig]:
    """A factory of small configs: ``config("wanda", sparsity="2:4", calibration__seed=1)``."""

    def make(method: str = "magnitude", sparsity: Any = 0.5, model: Path | None = None, **changes: Any) -> RunConfig:
        return make_config(str(model or tiny_folder()), method=method, sparsity=sparsity, **run_parts(texts, **changes))

    return make


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MB; skips where this process may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)
