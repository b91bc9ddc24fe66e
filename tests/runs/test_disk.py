"""A full disk: one sentence, nothing lost, and everything works once there is room again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors import SafetensorError
from safetensors.torch import save_file

from core.api import run_config
from core.cli.commands import main
from core.config import RunConfig
from core.errors import InputError
from core.events import Event, PhaseStarted
from core.reopening import reopen
from core.settings import Settings
from core.store import RunResult, Store, artifacts
from tests.runs.material import fill, intact, run_options, sentence

Configs = Callable[..., RunConfig]


def weights_of(store: Store, run_id: str) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in reopen(run_id, store).model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def when_saving(act: Callable[[], Any]) -> Callable[[Event], None]:
    def report(event: Event) -> None:
        if isinstance(event, PhaseStarted) and event.phase == "Saving":
            act()

    return report


def check_failed_repeat(
    store: Store, home: Path, run_id: str, before: RunResult | None, weights: dict[str, torch.Tensor]
) -> None:
    """The second attempt failed and says why; the first one's result and artifacts are as they were."""
    run = store.run(run_id)
    assert (run.status, run.attempt.number) == ("failed", 2)
    assert "full" in run.attempt.message
    assert run.result == before
    folders = {folder.name for folder in store.folder(run_id).parent.iterdir()}
    assert {name for name in folders if not name.startswith("dense-")} == {run_id}  # and no unfinished one
    assert same(weights_of(store, run_id), weights)
    assert intact(home)


def test_the_error_of_safetensors_on_a_full_disk_is_recognised(tiny_disk: Path) -> None:
    """It is none of Python's own; artifacts.py knows it by its words, which this pins down."""
    fill(tiny_disk, leave=100_000)
    with pytest.raises(SafetensorError, match=r"No space left on device \(os error 28\)"):
        save_file({"weight": torch.zeros(1_000_000)}, tiny_disk / "direct.safetensors")
    (tiny_disk / "direct.safetensors").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"disk of .* is full"), artifacts.new_folder(tiny_disk / "run") as folder:
        artifacts.write_weights(folder, {"weight": torch.zeros(1_000_000)})
    assert [file.name for file in tiny_disk.iterdir()] == ["filler"]


def test_a_disk_that_fills_up_while_a_run_is_saved(tiny_disk: Path, config: Configs) -> None:
    """There is no room for the artifacts, but for the row that says so."""
    store = Store.open(Settings(home=tiny_disk / "home"))
    wanted = config("sparsegpt")
    _, run = run_config(wanted, store)
    weights = weights_of(store, run.id)

    with pytest.raises(InputError) as caught:
        run_config(wanted, store, when_saving(lambda: fill(tiny_disk, leave=45_000)))
    assert str(tiny_disk) in str(caught.value)
    assert str(caught.value).count("full") == 1
    check_failed_repeat(store, tiny_disk / "home", run.id, run.result, weights)

    (tiny_disk / "filler").unlink()
    _, again = run_config(wanted, store)
    assert (again.status, again.attempt.number) == ("finished", 3)
    assert same(weights_of(store, run.id), weights)
    store.close()


def test_a_disk_that_fills_up_to_the_last_byte(tiny_disk: Path, config: Configs) -> None:
    """Not even the row that says so can be written; still one sentence, and nothing before it is lost."""
    store = Store.open(Settings(home=tiny_disk / "home"))
    wanted = config("sparsegpt")
    _, run = run_config(wanted, store)
    weights = weights_of(store, run.id)

    with pytest.raises(InputError, match="full"):
        run_config(wanted, store, when_saving(lambda: fill(tiny_disk, leave=0)))

    (tiny_disk / "filler").unlink()
    assert store.run(run.id).result == run.result
    assert same(weights_of(store, run.id), weights)
    assert intact(tiny_disk / "home")
    store.close()


def test_an_error_of_safetensors_without_a_small_disk(
    store: Store, home: Path, config: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with the error that safetensors raises on a full disk, for where no file system can be mounted."""
    wanted = config("sparsegpt")
    _, run = run_config(wanted, store)
    weights = weights_of(store, run.id)

    def full(*arguments: Any, **keywords: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr("safetensors.torch.save_file", full)
        with pytest.raises(InputError, match=r"disk of .* is full"):
            run_config(wanted, store)
    check_failed_repeat(store, home, run.id, run.result, weights)


def test_a_disk_that_is_full_before_the_run(
    tiny_disk: Path, texts: dict[str, Path], tiny_folder: Callable[..., Path]
) -> None:
    Store.open(Settings(home=tiny_disk / "home")).close()
    fill(tiny_disk, leave=0)
    result = CliRunner().invoke(main, ["--home", str(tiny_disk / "home"), "prune", *run_options(tiny_folder(), texts)])
    assert "full" in sentence(result)


def test_a_full_disk_under_a_home_that_is_not_there_yet(tiny_disk: Path) -> None:
    fill(tiny_disk, leave=0)
    result = CliRunner().invoke(main, ["--home", str(tiny_disk / "home"), "runs", "list"])
    assert "full" in sentence(result)


def test_a_full_disk_under_the_cache(tiny_disk: Path, texts: dict[str, Path], tiny_folder: Callable[..., Path]) -> None:
    fill(tiny_disk, leave=0)
    result = CliRunner().invoke(
        main, ["--cache", str(tiny_disk / "cache"), "prune", *run_options(tiny_folder(), texts)]
    )
    assert "full" in sentence(result, progress=True)


def test_a_full_disk_under_save(
    tiny_disk: Path, texts: dict[str, Path], tiny_folder: Callable[..., Path], store: Store
) -> None:
    """The run is kept; what could not be saved leaves nothing behind, and what was there before stays."""
    target = tiny_disk / "saved"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    (target / "prunescope.json").write_text("{}")
    fill(tiny_disk, leave=20_000)
    options = [*run_options(tiny_folder(), texts), "--save", str(target), "--overwrite"]
    message = sentence(CliRunner().invoke(main, ["prune", *options]), progress=True)
    assert str(target) in message
    assert "full" in message
    assert sorted(file.name for file in tiny_disk.iterdir()) == ["filler", "saved"]
    assert (target / "mine.txt").read_text() == "mine"
    assert [run.status for run in store.runs()] == ["finished"]


def test_a_full_disk_under_json(
    tiny_disk: Path, texts: dict[str, Path], tiny_folder: Callable[..., Path], store: Store
) -> None:
    fill(tiny_disk, leave=0)
    options = [*run_options(tiny_folder(), texts), "--json", str(tiny_disk / "run.json")]
    message = sentence(CliRunner().invoke(main, ["prune", *options]), progress=True)
    assert str(tiny_disk / "run.json") in message
    assert [run.status for run in store.runs()] == ["finished"]
