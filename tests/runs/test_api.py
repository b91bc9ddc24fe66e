"""One run in this process, from config to result, and its pruned model reopened."""

import contextlib
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import core
from core.api import make_config, run_config
from core.config import RunConfig, identify
from core.data import TextFile
from core.data.windows import tokenize
from core.errors import Cancelled, InputError, NotFound
from core.events import BlockFinished, BlockStarted, Event, Finished, Message, ModulePruned, PhaseStarted, Progress
from core.execution import execute
from core.models.sources import LocalFolder
from core.reopening import reopen
from core.settings import Settings
from core.store import Store
from core.worker import run_attempt
from tests.runs.material import intact, naive_perplexity, run_parts, sentences

Configs = Callable[..., RunConfig]
Folders = Callable[..., Path]
Texts = dict[str, Path]
METHODS = ["magnitude", "wanda", "sparsegpt"]


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def phases(events: list[Event]) -> list[str]:
    return [event.phase for event in events if isinstance(event, PhaseStarted)]


# The result -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("sparsity", [0.5, "2:4"])
def test_prune_returns_the_model_it_measured(
    tiny_folder: Folders, texts: Texts, store: Store, method: str, sparsity: float | str
) -> None:
    model, run, tokenizer = core.prune(
        str(tiny_folder()), method=method, sparsity=sparsity, store=store, **run_parts(texts)
    )
    dense = LocalFolder(path=str(tiny_folder())).load().model
    assert run.status == "finished"
    assert run.result is not None
    expected = naive_perplexity(model, tokenizer, texts["evaluation"], windows=6)
    assert run.result.perplexity.value == pytest.approx(expected, rel=1e-5)
    expected = naive_perplexity(dense, tokenizer, texts["evaluation"], windows=6)
    assert run.result.dense_perplexity.value == pytest.approx(expected, rel=1e-5)
    assert run.result.perplexity.windows == 6
    assert run.result.perplexity.tokens == 6 * 31

    assert run.result.target_sparsity == run.result.sparsity == 0.5
    before, after = weights(dense), weights(model)
    masks = store.masks(run.id)
    assert len(masks) == 14
    assert run.result.pruned == sum(int((~keep).sum()) for keep in masks.values())
    assert run.result.parameters == sum(keep.numel() for keep in masks.values())
    for name, weight in after.items():
        keep = masks.get(name.removesuffix(".weight"))
        if keep is None:  # embeddings, norms, head
            assert torch.equal(weight, before[name])
            continue
        assert not weight[~keep].any()
        assert int((~keep).sum()) * 2 == keep.numel()
        if method != "sparsegpt":
            assert torch.equal(weight[keep], before[name][keep])
        if sparsity == "2:4":
            assert (keep.reshape(-1, 4).sum(1) == 2).all()
    updated = store.modules(run.id).updated
    assert updated.all() if method == "sparsegpt" else not updated.any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt"])
def test_reopen_gives_the_same_weights_to_the_bit(
    tiny_folder: Folders, texts: Texts, store: Store, method: str, family: str
) -> None:
    """GPT-2 stores its matrices transposed; OPT has biases and a tied head."""
    model, run, _ = core.prune(str(tiny_folder(family)), method=method, sparsity=0.6, store=store, **run_parts(texts))
    assert (store.survivors(run.id) is not None) == (method == "sparsegpt")
    reopened = reopen(run.id, store)
    assert same(weights(reopened.model), weights(model))
    assert not reopened.model.training


@pytest.mark.parametrize("policy", ["never", "evicted"])
def test_a_run_without_its_weights_is_pruned_again_to_the_same(config: Configs, home: Path, policy: str) -> None:
    store = Store.open(Settings(home=home, keep_weights="never" if policy == "never" else "always"))
    loaded, run = run_config(config("sparsegpt"), store)
    if policy == "evicted":
        assert store.survivors(run.id) is not None
        store.delete_weights(run.id)
    assert store.survivors(run.id) is None
    assert same(weights(reopen(run.id, store).model), weights(loaded.model))
    store.close()


def test_a_run_of_bfloat16_reopens_to_the_bit(
    config: Configs, store: Store, tiny_folder: Folders, texts: Texts
) -> None:
    source = LocalFolder(path=str(tiny_folder()), dtype="bfloat16")
    model, run, _ = core.prune(source, method="sparsegpt", sparsity=0.5, store=store, **run_parts(texts))
    reopened = reopen(run.id, store).model
    assert next(reopened.parameters()).dtype == torch.bfloat16
    assert same(weights(reopened), weights(model))


def test_reopen_refuses_what_it_cannot_give(config: Configs, own_folder: Path, store: Store) -> None:
    with pytest.raises(NotFound, match="0123456789abcdef"):
        reopen("0123456789abcdef", store)
    unfinished = config()
    attempt, _ = store.submit(unfinished, identify(unfinished))
    with pytest.raises(InputError, match="not finished"):
        reopen(attempt.run_id, store)
    _, run = run_config(config(model=own_folder), store)
    shutil.rmtree(own_folder)
    with pytest.raises(InputError, match="own-model"):
        reopen(run.id, store)


def test_reopen_refuses_a_model_that_has_changed(config: Configs, own_folder: Path, store: Store) -> None:
    _, run = run_config(config(model=own_folder), store)
    file = own_folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match="changed"):
        reopen(run.id, store)


def test_pruning_again_refuses_a_text_that_has_changed(
    config: Configs, texts: Texts, tmp_path: Path, home: Path
) -> None:
    """Without its weights the run is pruned again, which another text would do differently."""
    store = Store.open(Settings(home=home, keep_weights="never"))
    text = Path(shutil.copy(texts["calibration"], tmp_path / "mine.txt"))
    corpus = {"corpus": "text", "path": str(text)}
    _, run = run_config(config("sparsegpt", calibration__corpus=corpus), store)
    text.write_text(sentences(600, seed=99), encoding="utf-8")
    with pytest.raises(InputError, match="changed"):
        reopen(run.id, store)
    store.close()


# What decides a run's id ----------------------------------------------------------------------------------------------


def test_the_same_config_is_the_same_run(config: Configs, store: Store) -> None:
    _, first = run_config(config("wanda"), store)
    _, second = run_config(config("wanda"), store)
    assert first.id == second.id
    assert [attempt.number for attempt in store.attempts(first.id)] == [1, 2]
    assert first.result is not None
    assert second.result is not None
    assert first.result.perplexity == second.result.perplexity
    _, other = run_config(config("wanda", calibration__seed=1), store)
    assert other.id != first.id
    assert other.result is not None
    assert other.result.perplexity != first.result.perplexity


def run_id(config: RunConfig) -> str:
    return identify(config).run_id(config)


def test_every_way_to_say_it_is_the_same_run(tiny_folder: Folders, texts: Texts) -> None:
    folder, parts = str(tiny_folder()), run_parts(texts)
    one = make_config(folder, method="wanda", sparsity="2:4", **parts)
    other = make_config(LocalFolder(path=folder), method=core.Wanda(), sparsity=0.5, pattern=core.NM(n=2, m=4), **parts)
    assert one == other
    assert run_id(one) == run_id(other) == run_id(RunConfig.model_validate_json(one.model_dump_json()))


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_changed_model_is_another_run(config: Configs, own_folder: Path, file: str) -> None:
    """The tokenizer too: it decides what both perplexities are measured on."""
    wanted = config(model=own_folder)
    before = run_id(wanted)
    with (own_folder / file).open("ab") as content:
        content.write(b"\n")
    assert run_id(wanted) != before


def test_a_changed_text_is_another_run(config: Configs, tmp_path: Path, texts: Texts) -> None:
    text = Path(shutil.copy(texts["evaluation"], tmp_path / "mine.txt"))
    wanted = config(evaluation__corpus={"corpus": "text", "path": str(text)})
    before = run_id(wanted)
    text.write_text(text.read_text() + "More.")
    assert run_id(wanted) != before


def test_a_relative_folder_is_the_folder_it_was(
    config: Configs, store: Store, own_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A run that was made with ./model is the same run from elsewhere, and can be reopened from there."""
    monkeypatch.chdir(own_folder.parent)
    relative = config(model=Path("./own-model"))
    _, run = run_config(
        make_config(
            "./own-model",
            method="magnitude",
            calibration=relative.calibration.model_dump(),
            evaluation=relative.evaluation.model_dump(),
        ),
        store,
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert reopen(run.id, store).model is not None


# Events ---------------------------------------------------------------------------------------------------------------


def test_events_come_in_order(config: Configs, store: Store) -> None:
    told: list[Event] = []
    _, run = run_config(config("wanda"), store, told.append)
    assert phases(told) == [
        "Reading the text",
        "Loading the model",
        "Measuring the dense model",
        "Pruning",
        "Measuring the pruned model",
        "Saving",
    ]
    done = total = 0
    for event in told:
        if isinstance(event, PhaseStarted):
            assert done == total or total == 0  # the phase before came to its end
            done, total = 0, event.total
        elif isinstance(event, Progress):
            assert done < event.done <= total
            done = event.done

    kinds = (BlockStarted, ModulePruned, BlockFinished, Finished)
    steps = [event for event in told if isinstance(event, kinds)]
    block: list[type] = [BlockStarted, *[ModulePruned] * 7, BlockFinished]
    assert [type(event) for event in steps] == [*block, *block, Finished]

    stored = [event for _, event in store.events(run.attempt.id)]
    assert phases(stored) == phases(told)
    assert [event for event in stored if isinstance(event, ModulePruned)] == [
        event.model_copy(update={"keep": None}) for event in told if isinstance(event, ModulePruned)
    ]


def test_the_dense_perplexity_is_measured_once(config: Configs, store: Store) -> None:
    first: list[Event] = []
    second: list[Event] = []
    _, one = run_config(config("magnitude"), store, first.append)
    _, other = run_config(config("wanda", sparsity=0.7), store, second.append)
    assert "Measuring the dense model" in phases(first)
    assert not [event for event in first if isinstance(event, Message)]
    assert "Measuring the dense model" not in phases(second)
    messages = [event.text for event in second if isinstance(event, Message)]
    assert len(messages) == 1
    assert "known" in messages[0]
    assert one.result is not None
    assert other.result is not None
    assert one.result.dense_perplexity == other.result.dense_perplexity


@pytest.mark.parametrize("change", ["windows", "seqlen", "text", "content", "model", "dtype"])
def test_the_dense_perplexity_is_measured_again_for_anything_else(
    config: Configs, store: Store, texts: Texts, own_folder: Path, tmp_path: Path, change: str
) -> None:
    mine = Path(shutil.copy(texts["evaluation"], tmp_path / "mine.txt"))

    def changed(**changes: Any) -> RunConfig:
        corpus = {"corpus": "text", "path": str(mine)}
        return config(model=own_folder, **({"evaluation__corpus": corpus} | changes))

    run_config(changed(), store)
    again = changed()
    if change == "windows":
        again = changed(evaluation__windows=5)
    elif change == "seqlen":
        again = changed(evaluation__seqlen=16)
    elif change == "text":
        again = changed(evaluation__corpus={"corpus": "text", "path": str(texts["calibration"])})
    elif change == "content":
        mine.write_text(sentences(600, seed=98), encoding="utf-8")
    elif change == "dtype":
        again = changed().model_copy(update={"model": LocalFolder(path=str(own_folder), dtype="bfloat16")})
    else:
        content = bytearray((own_folder / "model.safetensors").read_bytes())
        content[-1] ^= 1
        (own_folder / "model.safetensors").write_bytes(content)
    told: list[Event] = []
    run_config(again, store, told.append)
    assert "Measuring the dense model" in phases(told)


def test_the_model_is_not_loaded_for_a_text_that_is_too_short(config: Configs, store: Store, texts: Texts) -> None:
    wanted = config(calibration__corpus={"corpus": "text", "path": str(texts["short"])})

    def load(source: Any) -> Any:
        raise AssertionError("loaded")

    steps = execute(wanted, identify(wanted), store, load)
    with pytest.raises(InputError, match=r"calibration\.seqlen = 32"):
        list(steps)


# Texts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seqlen", [32, 48, 16])
def test_text_that_serves_both_purposes_is_warned_of(
    config: Configs, store: Store, tmp_path: Path, seqlen: int
) -> None:
    """Also where the windows are shorter than the 32 tokens that usually tell."""
    file = tmp_path / "both.txt"
    file.write_text(sentences(20, seed=3))
    corpus = {"corpus": "text", "path": str(file)}
    told: list[Event] = []
    both = config(
        calibration__corpus=corpus,
        calibration__windows=2000,
        calibration__seqlen=seqlen,
        evaluation__corpus=corpus,
        evaluation__seqlen=seqlen,
        evaluation__windows=2,
    )
    _, run = run_config(both, store, told.append)
    assert run.result is not None
    (warning,) = run.result.warnings
    assert "2 of 2" in warning
    assert "share text" in warning
    assert warning in [event.text for event in told if isinstance(event, Message)]
    assert run.status == "finished"


def test_different_texts_are_not_warned_of(config: Configs, store: Store) -> None:
    _, run = run_config(config(calibration__windows=500), store)
    assert run.result is not None
    assert run.result.warnings == ()


def test_tokens_are_kept_and_follow_the_text(tiny_folder: Folders, tmp_path: Path, cache: Path) -> None:
    tokenizer = LocalFolder(path=str(tiny_folder())).load_tokenizer()
    file = tmp_path / "mine.txt"
    file.write_text("The river changes in winter.")
    first = tokenize(TextFile(path=str(file)), "evaluation", tokenizer)
    assert tokenizer.decode(first) == "The river changes in winter."
    file.write_text("A machine forgets.")
    assert tokenizer.decode(tokenize(TextFile(path=str(file)), "evaluation", tokenizer)) == "A machine forgets."
    kept = len(list((cache / "tokens").iterdir()))
    tokenize(TextFile(path=str(file)), "evaluation", tokenizer)
    assert len(list((cache / "tokens").iterdir())) == kept
    assert not list((cache / "tokens").glob("*unfinished*"))


def test_runs_at_once_may_tokenize_the_same_text(
    tiny_folder: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on the command line and one in the dashboard meet at a text that neither has seen."""
    tokenizer = LocalFolder(path=str(tiny_folder())).load_tokenizer()
    file = tmp_path / "new.txt"
    file.write_text(sentences(50, seed=5))
    really, barrier = np.save, threading.Barrier(2)

    def slowly(*arguments: Any) -> None:
        really(*arguments)
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait(timeout=2)

    monkeypatch.setattr("core.data.windows.np.save", slowly)
    outcomes: list[Any] = []

    def one() -> None:
        try:
            outcomes.append(len(tokenize(TextFile(path=str(file)), "calibration", tokenizer)))
        except Exception as error:  # noqa: BLE001  what came is what the test is about
            outcomes.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(repr, outcomes))) == 1, outcomes
    assert isinstance(outcomes[0], int)


# Ends that are not happy ----------------------------------------------------------------------------------------------


def stop_at(phase: str, act: Callable[[], Any]) -> Callable[[Event], None]:
    """Acts when the first step of ``phase`` is done."""
    now: list[str] = []

    def report(event: Event) -> None:
        if isinstance(event, PhaseStarted):
            now[:] = [event.phase]
        elif now == [phase]:
            act()

    return report


PHASES = ["Measuring the dense model", "Pruning", "Measuring the pruned model"]


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_asked_to_stop_is_cancelled(config: Configs, store: Store, home: Path, phase: str) -> None:
    wanted = config("wanda")
    told: list[Event] = []

    def cancel() -> None:
        told.append(Message(text="asked"))
        store.request_cancel(store.active()[0].id)

    with pytest.raises(Cancelled):
        run_config(wanted, store, stop_at(phase, cancel))
    assert len(told) == 1  # it stopped at the very next step
    (run,) = store.runs()
    assert (run.status, run.result) == ("cancelled", None)
    assert run.attempt.finished_at is not None
    assert not store.folder(run.id).exists()
    assert store.active() == []
    assert intact(home)
    _, again = run_config(wanted, store)
    assert (again.status, again.attempt.number) == ("finished", 2)


@pytest.mark.parametrize("phase", PHASES)
def test_control_c_in_the_middle_is_cancelled(config: Configs, store: Store, phase: str) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_config(config("wanda"), store, stop_at(phase, interrupt))
    assert [run.status for run in store.runs()] == ["cancelled"]


def test_a_run_that_is_deleted_while_it_runs_leaves_nothing(config: Configs, store: Store) -> None:
    with pytest.raises(Cancelled):
        run_config(config(), store, stop_at("Pruning", lambda: store.delete(store.runs()[0].id)))
    assert store.runs() == []
    assert store.active() == []
    _, again = run_config(config(), store)
    assert again.attempt.number == 1


def test_a_run_deleted_while_it_is_saved_leaves_nothing(
    config: Configs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Store.open()
    really = core.store.artifacts.write_masks

    def delete_meanwhile(*arguments: Any) -> None:
        really(*arguments)
        for run in second.runs():
            second.delete(run.id)

    monkeypatch.setattr("core.store.artifacts.write_masks", delete_meanwhile)
    with contextlib.suppress(Cancelled, InputError):
        run_config(config(), store)
    second.close()
    assert store.runs() == []
    left = {file.name for file in Settings().artifacts.iterdir()}
    assert {name for name in left if not name.startswith("dense-")} == set(), "what is known of the dense model stays"


def test_closing_the_generator_stops_and_restores_the_model(config: Configs, store: Store) -> None:
    wanted = config("wanda")
    seen: list[Any] = []

    def load(source: Any) -> Any:
        seen.append(source.load())
        return seen[-1]

    steps = execute(wanted, identify(wanted), store, load)
    for event in steps:
        if isinstance(event, ModulePruned):
            break
    steps.close()
    with pytest.raises(StopIteration):
        next(steps)
    model = seen[0].model
    for module in model.modules():
        assert not module._forward_pre_hooks
        assert not module._forward_hooks
        assert "forward" not in module.__dict__
    assert torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError("damping = 0 is too small; raise it."), ["damping = 0 is too small; raise it."]),
        (MemoryError(), ["memory", "smaller"]),
        (torch.OutOfMemoryError("CUDA out of memory"), ["memory", "smaller"]),
        (RuntimeError("shapes do not fit"), ["RuntimeError", "shapes do not fit"]),
        (OSError(28, "No space left on device", "/somewhere"), ["No space left on device", "/somewhere"]),
        (ZeroDivisionError(), ["ZeroDivisionError"]),
    ],
)
def test_a_failed_run_says_why(
    config: Configs, store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception, words: list[str]
) -> None:
    def broken(*arguments: Any) -> Any:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr("core.methods.wanda.Wanda.score", broken)
        with pytest.raises(type(error)):
            run_config(config("wanda"), store)
    (run,) = store.runs()
    assert (run.status, run.result) == ("failed", None)
    for word in words:
        assert word in run.attempt.message
    assert "\n" not in run.attempt.message
    assert "None" not in run.attempt.message
    _, again = run_config(config("wanda"), store)
    assert again.status == "finished"


def test_a_failed_repeat_keeps_the_earlier_result(
    config: Configs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, run = run_config(config("sparsegpt"), store)
    with monkeypatch.context() as patch:
        patch.setattr("core.execution.prune_model", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_config(config("sparsegpt"), store)
    again = store.run(run.id)
    assert (again.status, again.result) == ("failed", run.result)
    assert same(weights(reopen(run.id, store).model), weights(loaded.model))


def test_the_same_run_under_way_elsewhere_is_refused(config: Configs, store: Store) -> None:
    wanted = config()
    attempt, _ = store.submit(wanted, identify(wanted))
    with pytest.raises(InputError, match=f"{attempt.run_id} is queued"):
        run_config(wanted, store)
    assert store.attempt(attempt.id).status == "queued"


def test_an_attempt_cancelled_while_it_waited_does_not_run(config: Configs, store: Store) -> None:
    wanted = config()
    attempt, _ = store.submit(wanted, identify(wanted))
    store.request_cancel(attempt.id)
    assert run_attempt(store, attempt.id) is None
    assert store.events(attempt.id) == []


def test_the_heart_beats_while_a_step_takes_long(
    config: Configs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.worker.HEARTBEAT_SECONDS", 0.02)
    beats: list[float] = []
    really = store.heartbeat
    monkeypatch.setattr(store, "heartbeat", lambda attempt_id: (beats.append(time.time()), really(attempt_id)))

    def long_load(source: Any) -> Any:
        before, end = len(beats), time.monotonic() + 20
        while len(beats) < before + 3 and time.monotonic() < end:
            time.sleep(0.01)
        return source.load()

    wanted = config()
    attempt, _ = store.submit(wanted, identify(wanted))
    assert run_attempt(store, attempt.id, long_load) is not None
    assert len(beats) >= 3
    threads = [thread.name for thread in threading.enumerate()]
    assert "heartbeat" not in threads


def test_the_public_names_are_there() -> None:
    for name in core.__all__:
        assert getattr(core, name) is not None
    with pytest.raises(AttributeError):
        core.no_such_name  # noqa: B018
