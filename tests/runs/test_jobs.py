"""Runs on a real Dask worker: live progress, a queue, cancelling, and workers and apps that are killed."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from safetensors.torch import load_file

from core.api import run_config
from core.config import RunConfig, identify
from core.errors import InputError
from core.events import ModulePruned, PhaseStarted
from core.jobs import Jobs
from core.models.profiles import stored_profile
from core.models.sources import LocalFolder
from core.reopening import reopen
from core.settings import Settings
from core.store import Store
from tests.runs.desk import LOST_WORKER, Configs, Desk, open_desk, wait
from tests.runs.material import intact
from tests.runs.peer import Peer


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Desk]:
    with open_desk(tmp_path_factory.mktemp("jobs") / "home", cache) as desk:
        yield desk


@pytest.fixture
def quick(config: Configs) -> Configs:
    """Configs of runs that take a fraction of a second."""
    return config


@pytest.fixture
def long(config: Configs) -> Configs:
    """Configs of runs that take many seconds, all of them in small steps."""

    def make(**changes: Any) -> RunConfig:
        return config(**({"evaluation__windows": None, "evaluation__seqlen": 8, "evaluation__batch_size": 1} | changes))

    return make


def test_a_submitted_run_is_seen_live_and_finishes(desk: Desk, long: Configs) -> None:
    wanted = long(evaluation__windows=120, method="sparsegpt")
    attempt = desk.jobs.submit(wanted)
    assert (attempt.status, attempt.number) == ("queued", 1)
    assert desk.jobs.submit(wanted).id == attempt.id
    seen: set[tuple[str, bool]] = set()

    def done() -> bool:
        now = desk.store.attempt(attempt.id)
        seen.add((now.phase, 0 < now.phase_done < now.phase_total))
        return not now.active

    wait(done)
    assert desk.store.attempt(attempt.id).status == "finished", desk.store.attempt(attempt.id).message
    assert {("Measuring the dense model", True), ("Measuring the pruned model", True)} <= seen

    run = desk.store.run(attempt.run_id)
    assert run.result is not None
    assert run.result.perplexity.windows == 120
    assert len(desk.store.masks(run.id)) == 14
    assert run.weights_bytes > 0
    events = [event for _, event in desk.store.events(attempt.id)]
    assert len([event for event in events if isinstance(event, ModulePruned)]) == 14
    assert [event.phase for event in events if isinstance(event, PhaseStarted)][-1] == "Saving"


def test_a_worker_and_this_process_come_to_the_same(desk: Desk, quick: Configs, store: Store) -> None:
    attempt = desk.until(desk.jobs.submit(quick("wanda")), "finished")
    _, run = run_config(quick("wanda"), store)
    there = desk.store.run(attempt.run_id)
    assert there.id == run.id
    assert there.result is not None
    assert run.result is not None
    assert there.result.perplexity.value == pytest.approx(run.result.perplexity.value, rel=1e-6)
    assert there.result.pruned == run.result.pruned


def test_a_second_start_queues_and_both_can_be_cancelled(desk: Desk, long: Configs, quick: Configs) -> None:
    running = desk.jobs.submit(long(calibration__seed=1))
    desk.until_under_way(running)
    second, third = (desk.jobs.submit(quick(calibration__seed=seed)) for seed in (2, 3))
    assert (desk.status(running), desk.status(second), desk.status(third)) == ("running", "queued", "queued")
    (worker,) = desk.jobs.cluster().workers
    assert desk.jobs.cluster().local
    assert worker.attempts[0] == running.id
    assert worker.threads == 1
    assert worker.memory > 50e6  # it has imported torch

    desk.jobs.cancel(second.id)
    assert desk.status(second) == "cancelled"  # at once
    asked = time.monotonic()
    desk.jobs.cancel(running.id)
    desk.until(running, "cancelled", seconds=10)
    assert time.monotonic() - asked < 2
    assert desk.store.run(running.run_id).result is None

    desk.until(third, "finished")
    assert desk.store.attempt(second.id).started_at is None
    assert desk.store.events(second.id) == []


def test_another_model_can_be_submitted_while_a_run_is_under_way(
    desk: Desk, long: Configs, quick: Configs, own_folder: Path
) -> None:
    """It queues; it does not wait until the worker is free to look the model up."""
    running = desk.jobs.submit(long(calibration__seed=4, evaluation__windows=300))
    desk.until_under_way(running)
    second = desk.jobs.submit(quick(model=own_folder))
    assert desk.status(running) == "running"
    assert second.status == "queued"
    desk.jobs.cancel(running.id)
    desk.until(second, "finished")


def test_a_run_that_fails_says_why_and_the_next_one_runs(
    desk: Desk, quick: Configs, texts: dict[str, Path], tiny_folder: Callable[..., Path]
) -> None:
    short = quick(evaluation__corpus={"corpus": "text", "path": str(texts["short"])})
    failed = desk.until(desk.jobs.submit(short), "failed")
    assert "evaluation.seqlen = 32" in failed.message
    assert desk.store.run(failed.run_id).result is None
    again = desk.until(desk.jobs.submit(short), "failed")
    assert (again.run_id, again.number) == (failed.run_id, 2)

    abacus = quick().model_copy(update={"model": LocalFolder(path=str(tiny_folder()), device="abacus")})
    failed = desk.until(desk.jobs.submit(abacus), "failed")
    assert "device = 'abacus'" in failed.message
    desk.until(desk.jobs.submit(quick(calibration__seed=5)), "finished")


def test_an_attempt_that_can_never_begin_is_not_sent_forever(
    desk: Desk, quick: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that cannot import the program, or not open the store, fails before the attempt is its own."""
    with monkeypatch.context() as patch:
        patch.setattr("core.jobs._work", int)  # int(attempt, policy) raises on the worker, every time
        attempt = desk.jobs.submit(quick(calibration__seed=13))
        try:
            ended = desk.until(attempt, "failed", "interrupted", seconds=8)
        finally:
            desk.jobs.cancel(attempt.id)
    assert ended.message


def test_what_is_known_to_be_wrong_is_refused_before_it_is_stored(
    desk: Desk, quick: Configs, tiny_folder: Callable[..., Path], tmp_path: Path
) -> None:
    before = [run.id for run in desk.store.runs()]
    wrong = {
        r"calibration\.seqlen = 65": quick(calibration__seqlen=65),
        r"3:5 does not fit": quick(sparsity="3:5"),
        r"no config\.json": quick(model=tmp_path),
        r"only as \.bin weights": quick(model=tiny_folder(bin_only=True)),
        r"none\.txt": quick(calibration__corpus={"corpus": "text", "path": str(tmp_path / "none.txt")}),
    }
    for words, config in wrong.items():
        with pytest.raises(InputError, match=words):
            desk.jobs.submit(config)
        assert [run.id for run in desk.store.runs()] == before


def test_a_model_is_looked_up_once(desk: Desk, tiny_folder: Callable[..., Path]) -> None:
    source = LocalFolder(path=str(tiny_folder("gpt2")))
    assert stored_profile(source, desk.store) is None
    profile = desk.jobs.profile(source)
    assert profile.blocks == 2
    assert profile.labels == ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    assert profile.modules[0].shape == (96, 32)
    assert stored_profile(source, desk.store) == profile == source.profile()


def test_a_run_is_exported_by_the_worker(desk: Desk, quick: Configs, tmp_path: Path) -> None:
    attempt = desk.until(desk.jobs.submit(quick("sparsegpt", calibration__seed=6)), "finished")
    folder = desk.jobs.export(attempt.run_id, tmp_path / "exported")
    saved = load_file(folder / "model.safetensors")
    expected = reopen(attempt.run_id, desk.store).model.state_dict()
    assert all((saved[name] == expected[name]).all() for name in saved)
    with pytest.raises(InputError, match="exists already"):
        desk.jobs.export(attempt.run_id, tmp_path / "exported")
    with pytest.raises(InputError, match="0123456789abcdef"):
        desk.jobs.export("0123456789abcdef", tmp_path / "other")


def test_a_killed_worker_leaves_an_interrupted_attempt_and_the_queue_goes_on(
    desk: Desk, long: Configs, quick: Configs
) -> None:
    running = desk.jobs.submit(long(calibration__seed=7))
    desk.until_under_way(running)
    queued = desk.jobs.submit(quick(calibration__seed=8))
    worker = desk.worker_of(running)
    os.kill(worker, signal.SIGKILL)
    interrupted = desk.until(running, "interrupted")
    assert "repeat" in interrupted.message
    assert interrupted.finished_at is not None
    assert intact(desk.home)

    finished = desk.until(queued, "finished", "failed", "interrupted")
    assert finished.status == "finished", finished.message
    assert finished.number == 1
    assert desk.worker_of(queued) != worker
    assert [attempt.status for attempt in desk.store.attempts(running.run_id)] == ["interrupted"]  # max_attempts is 1

    again = desk.jobs.submit(long(calibration__seed=7))
    assert (again.run_id, again.number) == (running.run_id, 2)
    desk.jobs.cancel(again.id)
    desk.until(again, "cancelled", seconds=20)


def test_with_two_attempts_a_killed_run_is_repeated(
    desk: Desk, long: Configs, quick: Configs, home: Path, cache: Path
) -> None:
    """Over the address of a scheduler, as on a cluster; the run of another store that waits behind it finishes too."""
    assert desk.jobs._cluster is not None
    address = desk.jobs._cluster.scheduler_address
    policy = Settings(home=home, max_attempts=2, scheduler=address)
    store = Store.open(policy)
    jobs = Jobs(store, policy)
    other = Desk(jobs, store, home)
    try:
        running = jobs.submit(long(evaluation__windows=120, calibration__seed=9))
        other.until_under_way(running)
        queued = desk.jobs.submit(quick(calibration__seed=10))
        os.kill(other.worker_of(running), signal.SIGKILL)
        other.until(running, "interrupted")
        second = wait(lambda: store.attempts(running.run_id)[1:])[0]
        finished = other.until(second, "finished", "failed", "interrupted")
        assert finished.status == "finished", finished.message
        assert [attempt.status for attempt in store.attempts(running.run_id)] == ["interrupted", "finished"]
        assert store.run(running.run_id).result is not None
        desk.until(queued, "finished")
        assert intact(home)
        assert intact(desk.home)
    finally:
        jobs.close()
        store.close()


def test_a_killed_app_leaves_an_interrupted_attempt_and_no_process(
    long: Configs, quick: Configs, home: Path, store: Store
) -> None:
    app = Peer(home)
    attempt_id, worker = app.ask("open_app", long(calibration__seed=11).model_dump(mode="json"))
    there = psutil.Process(worker)
    attempt = store.attempt(attempt_id)
    Desk(None, store, home).until_under_way(attempt)  # type: ignore[arg-type]
    assert store.reconcile() == []
    app.kill()
    interrupted = wait(store.reconcile)
    assert [attempt.id for attempt in interrupted] == [attempt_id]
    assert store.attempt(attempt_id).status == "interrupted"
    wait(lambda: not there.is_running() or there.status() == psutil.STATUS_ZOMBIE, seconds=30)
    app.close()
    assert intact(home)
    again, new = store.submit(long(calibration__seed=11), identify(long(calibration__seed=11)))
    assert new
    assert again.number == 2


def test_a_task_that_waits_for_a_worker_does_not_meet_its_warm_up(home: Path, quick: Configs) -> None:
    """Else two threads import transformers at once and one of them sees half of it."""
    worker = Peer(home)
    try:
        assert worker.ask("work_while_warming_up", quick().model_dump(mode="json")) == ["finished", ""]
    finally:
        worker.close()


def test_a_worker_that_is_slow_to_come_back_is_waited_for(desk: Desk, quick: Configs) -> None:
    """Dask gives a worker up that is not back after 15 seconds, for good; here a tenth of a second plays the slow machine.

    The last test of this file: without a worker none of the others could follow.
    """
    there = desk.jobs._client.run(os.getpid)
    slow = 0.1 if desk.lost_worker < 600 else desk.lost_worker
    with dask.config.set({LOST_WORKER: f"{slow}s"}):
        os.kill(next(iter(there.values())), signal.SIGKILL)
        wait(lambda: not desk.jobs.workers(), seconds=20)
        attempt = desk.jobs.submit(quick(calibration__seed=12))
        finished = desk.until(attempt, "finished", "failed", "interrupted", seconds=40)
    assert finished.status == "finished", finished.message
