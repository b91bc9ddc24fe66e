"""Methods, patterns and statistics from outside the repository, and the comparison of all methods."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from core.cli.commands import main
from core.store import Store
from core.store.artifacts import read_masks
from tests.runs.material import run_options
from tests.runs.peer import ROOT

EXAMPLES = [str(ROOT / "examples" / name) for name in ("row_share.py", "l1_norm.py", "block_pattern.py")]
Folders = Callable[..., Path]
Texts = dict[str, Path]


def core(*arguments: object, plugins: list[str]) -> subprocess.CompletedProcess[str]:
    """In a process of its own: what a plugin registers stays registered."""
    named = [word for plugin in plugins for word in ("--plugin", plugin)]
    command = [sys.executable, "-m", "core", *named, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_examples_are_listed_and_run(tiny_folder: Folders, texts: Texts, store: Store, tmp_path: Path) -> None:
    listed = core("methods", plugins=EXAMPLES).stdout
    for name in ("row_share", "wanda_l1", "block", "l1_norm"):
        assert name in listed
    options = run_options(tiny_folder(), texts, method="wanda_l1", pattern="block", json=tmp_path / "run.json")
    done = core("prune", *options, "--pattern-size", "8", plugins=EXAMPLES)
    assert done.returncode == 0, done.stderr
    run_id = json.loads((tmp_path / "run.json").read_text())["run_id"]
    stored = core("runs", "show", run_id, plugins=EXAMPLES).stdout
    assert run_id in stored
    for keep in read_masks(store.folder(run_id)).values():
        tiles = keep.reshape(keep.shape[0] // 8, 8, keep.shape[1] // 8, 8).sum(dim=(1, 3))
        assert set(tiles.unique().tolist()) <= {0, 64}
        assert int((tiles == 0).sum()) == tiles.numel() // 2


def test_a_method_of_an_example_takes_its_options(tiny_folder: Folders, texts: Texts, home: Path) -> None:
    options = run_options(tiny_folder(), texts, method="row_share")
    assert core("prune", *options, "--method-power", "0.5", plugins=EXAMPLES).returncode == 0


@pytest.mark.parametrize(("plugin", "words"), [("no_such_module", "No module named"), ("nowhere/file.py", "nowhere")])
def test_a_plugin_that_is_not_there_is_one_sentence(home: Path, plugin: str, words: str) -> None:
    refused = core("methods", plugins=[plugin])
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"Error: plugin = '{plugin}' cannot be imported: ")
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_compare_prints_and_writes_one_table(tiny_folder: Folders, texts: Texts, store: Store, tmp_path: Path) -> None:
    options = run_options(tiny_folder(), texts, method=None, out=tmp_path / "table.json")
    words = ["--sparsity", "0.5", "--sparsity", "2:4", "--method", "wanda", "--method", "sparsegpt"]
    sets = ["--stages", "lsa", "--stages", "reconstruction", "--stages", "lsa+reconstruction"]
    arguments = ["compare", *words, *sets, *map(str, options)]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "table.json").read_text())
    assert [(row["sparsity"], row["method"], row["stages"]) for row in rows] == [
        ("50%", "Wanda", "–"),
        ("50%", "Wanda", "Reconstruction"),
        ("50%", "SparseGPT", "–"),
        ("2:4", "Wanda", "–"),
        ("2:4", "Wanda", "Channel reallocation (lsa)"),
        ("2:4", "Wanda", "Reconstruction"),
        ("2:4", "Wanda", "Channel reallocation (lsa), Reconstruction"),
        ("2:4", "SparseGPT", "–"),
    ]
    for row in rows:
        run = store.run(row["run"])
        assert run.result is not None
        assert row["perplexity"] == run.result.perplexity.value
        assert f"{row['perplexity']:.2f}" in done.stdout
    attempts = [run.attempt.number for run in store.runs()]
    again = CliRunner().invoke(main, arguments)
    assert again.stdout == done.stdout
    assert [run.attempt.number for run in store.runs()] == attempts == [1] * 8


def test_the_block_pattern_prunes_whole_tiles() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from examples.block_pattern import BlockSparsity
    finally:
        sys.path.remove(str(ROOT))
    scores = torch.tensor([[1.0, 1, 5, 5], [1, 1, 5, 5], [2, 2, 0, 9], [2, 2, 0, 0]])
    keep = BlockSparsity(size=2).keep(scores, 0.5)
    assert keep.tolist() == [[False] * 2 + [True] * 2] * 2 + [[False] * 2 + [True] * 2] * 2
    assert BlockSparsity(size=2).violation(keep, 0.5) is None
    keep[0, 0] = True
    assert BlockSparsity(size=2).violation(keep, 0.5) is not None
