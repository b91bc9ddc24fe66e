"""The store: runs, attempts, artifacts, and what other processes do to them meanwhile."""

import json
import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, inspect

from core.api import make_config
from core.config import Identity, RunConfig
from core.errors import InputError, NotFound
from core.evaluation.result import Perplexity, perplexity
from core.events import BlockStarted, Event, Message, ModulePruned, PhaseStarted, Progress
from core.figures import module_table
from core.settings import Settings
from core.store import RunResult, Store, artifacts, liveness
from core.store.artifacts import Artifacts, pack
from core.store.database import MIGRATIONS, open_database
from core.store.tables import Base
from core.sweeps import Sweep
from core.sweeps.points import Point
from tests.runs.peer import Peer

IDENTITY = Identity(model_revision="r1", calibration_fingerprint="c1", evaluation_fingerprint="e1", versions=(1, 1, 1))


def config_of(seed: int = 0, **changes: Any) -> RunConfig:
    return make_config("./nowhere", calibration={"seed": seed}, **changes)


def result_of(value: float = 20.0, **changes: Any) -> RunResult:
    fields: dict[str, Any] = {
        "dense_perplexity": perplexity([2.0, 3.0], 32),
        "perplexity": Perplexity(value=value, standard_error=0.5, seqlen=32, losses=(2.5, 3.5)),
        "target_sparsity": 0.5,
        "pruned": 30,
        "parameters": 61,
        "dense_bytes": 244,
        "bitmask_bytes": 130,
        "evaluated_on": "a text",
        "calibrated_on": "another",
        "prune_seconds": 1.5,
        "seconds": 2.5,
    }
    return RunResult.model_validate(fields | changes)


def pruned_module(name: str, keep: torch.Tensor, updated: bool = True) -> ModulePruned:
    return ModulePruned(
        module=name,
        block=0,
        label=name.rpartition(".")[2],
        shape=(keep.shape[0], keep.shape[1]),
        target=0.5,
        pruned=int((~keep).sum()),
        error=0.25,
        seconds=0.1,
        updated=updated,
    )


SHAPES = {"block.0.odd": (3, 7), "block.0.one": (1, 1), "block.0.whole": (8, 8), "block.0.tall": (13, 3)}


def keeps(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) < 0.5 for name, shape in SHAPES.items()}


def finish(
    store: Store, config: RunConfig, value: float = 20.0, survivors: dict[str, torch.Tensor] | None = None
) -> str:
    """Submits, starts and finishes an attempt at ``config``; returns the run's id."""
    attempt, new = store.submit(config, IDENTITY)
    assert new
    assert store.start(attempt.id)
    masks = keeps()
    modules = module_table([pruned_module(name, keep) for name, keep in masks.items()])
    packed = {name: pack(keep) for name, keep in masks.items()}
    store.finish(attempt.id, result_of(value), Artifacts(modules, pd.DataFrame(), packed, {}, survivors or {}))
    return attempt.run_id


def eventually(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


# Submitting -----------------------------------------------------------------------------------------------------------


def test_submitting_twice_while_active_is_one_attempt(store: Store) -> None:
    first, new = store.submit(config_of(), IDENTITY)
    assert new
    assert (first.status, first.number) == ("queued", 1)
    again, new = store.submit(config_of(), IDENTITY)
    assert (again.id, new) == (first.id, False)
    assert store.start(first.id)
    running, new = store.submit(config_of(), IDENTITY)
    assert (running.id, running.status, new) == (first.id, "running", False)
    assert len(store.attempts(first.run_id)) == 1


def test_a_repeat_is_a_further_attempt_of_the_same_run(store: Store) -> None:
    first, _ = store.submit(config_of(), IDENTITY)
    store.end(first.id, "failed", "Because.")
    second, new = store.submit(config_of(), IDENTITY)
    assert new
    assert (second.run_id, second.number) == (first.run_id, 2)
    assert [attempt.number for attempt in store.attempts(first.run_id)] == [1, 2]
    assert [run.id for run in store.runs()] == [first.run_id]
    assert store.run(first.run_id).attempt.id == second.id
    assert store.attempt(first.id).message == "Because."


@pytest.mark.parametrize("field", ["model_revision", "calibration_fingerprint", "evaluation_fingerprint"])
def test_what_a_config_stands_for_is_part_of_the_run(store: Store, field: str) -> None:
    first, _ = store.submit(config_of(), IDENTITY)
    other, new = store.submit(config_of(), IDENTITY.model_copy(update={field: "other"}))
    assert new
    assert other.run_id != first.run_id


def test_submitting_at_once_from_many_sides_is_one_attempt(home: Path) -> None:
    """Two tabs press Start for the same config in the same moment."""
    stores = [Store.open() for _ in range(4)]
    for seed in range(8):
        barrier = threading.Barrier(len(stores))
        outcomes: list[Any] = []

        def press(
            store: Store, seed: int = seed, barrier: threading.Barrier = barrier, outcomes: list = outcomes
        ) -> None:
            barrier.wait()
            try:
                outcomes.append(store.submit(config_of(seed), IDENTITY))
            except Exception as error:  # noqa: BLE001  what came is what the test is about
                outcomes.append(error)

        threads = [threading.Thread(target=press, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        errors = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        assert not errors, errors[0]
        assert sorted(new for _, new in outcomes) == [False, False, False, True]
        assert len({attempt.id for attempt, _ in outcomes}) == 1
    for store in stores:
        store.close()


# The end of an attempt ------------------------------------------------------------------------------------------------


def test_finish_writes_config_masks_modules_and_survivors(store: Store) -> None:
    masks = keeps()
    generator = torch.Generator().manual_seed(1)
    survivors = {
        "block.0.odd": torch.randn(int(masks["block.0.odd"].sum()), generator=generator),
        "block.0.whole": torch.randn(int(masks["block.0.whole"].sum()), generator=generator).to(torch.bfloat16),
    }
    run_id = finish(store, config_of(), survivors=survivors)

    assert {file.name for file in store.folder(run_id).iterdir()} == {
        "config.json",
        "masks.safetensors",
        "modules.parquet",
        "weights.safetensors",
    }
    content = json.loads((store.folder(run_id) / "config.json").read_text(encoding="utf-8"))
    assert RunConfig.model_validate(content) == config_of()

    read = store.masks(run_id)
    assert read.keys() == masks.keys()
    for name, keep in masks.items():
        assert read[name].dtype == torch.bool
        assert torch.equal(read[name], keep)
        assert torch.equal(store.mask(run_id, name), keep)

    kept = store.survivors(run_id)
    assert kept is not None
    assert kept.keys() == survivors.keys()
    for name, values in survivors.items():
        assert kept[name].dtype == values.dtype
        assert torch.equal(kept[name], values)

    expected = module_table([pruned_module(name, keep) for name, keep in masks.items()])
    pd.testing.assert_frame_equal(store.modules(run_id), expected)
    assert list(store.modules(run_id).module) == list(masks)

    run = store.run(run_id)
    assert run.result == result_of()
    assert run.result.sparsity == 30 / 61
    assert run.status == "finished"
    assert run.attempt.finished_at is not None
    assert run.weights_bytes == (store.folder(run_id) / "weights.safetensors").stat().st_size
    assert store.runs() == [run]


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (3, 3), (2, 4), (5, 13), (9, 8), (1, 65)])
def test_masks_of_any_size_pack_to_bits(shape: tuple[int, int]) -> None:
    keep = torch.rand(shape, generator=torch.Generator().manual_seed(shape[1])) < 0.5
    bits = pack(keep)
    assert bits.numel() == math.ceil(shape[0] * shape[1] / 8)
    assert torch.equal(artifacts.unpack(bits, shape), keep)
    assert torch.equal(artifacts.unpack(pack(~keep), shape), ~keep)


def test_a_mask_of_conv1d_packs_row_after_row() -> None:
    """GPT-2's masks come as views of transposed tensors."""
    keep = (torch.rand((6, 5), generator=torch.Generator().manual_seed(0)) < 0.5).T
    assert torch.equal(artifacts.unpack(pack(keep), (5, 6)), keep)


@pytest.mark.parametrize("value", [math.inf, math.nan, 1e300])
def test_a_broken_models_perplexity_is_kept(store: Store, value: float) -> None:
    broken = Perplexity(value=value, standard_error=None, seqlen=32, losses=(800.0, value))
    attempt, _ = store.submit(config_of(), IDENTITY)
    store.start(attempt.id)
    keep = torch.ones(1, 1, dtype=torch.bool)
    modules = module_table([pruned_module("m", keep, updated=False)])
    store.finish(
        attempt.id, result_of(perplexity=broken), Artifacts(modules, pd.DataFrame(), {"m": pack(keep)}, {}, {})
    )
    stored = store.runs()[0].result
    assert stored is not None
    assert repr(stored.perplexity) == repr(broken)  # nan is not nan


def test_a_perplexity_that_is_not_a_number_is_not_called_infinite() -> None:
    """Overflowing half-precision activations give NaN; that is another finding than a large loss."""
    assert not math.isinf(perplexity([2.0, math.nan], 32).value)


def test_the_end_of_a_closed_attempt_changes_nothing(store: Store) -> None:
    attempt, _ = store.submit(config_of(), IDENTITY)
    store.end(attempt.id, "failed", "First.")
    store.end(attempt.id, "interrupted", "Second.")
    assert (store.attempt(attempt.id).status, store.attempt(attempt.id).message) == ("failed", "First.")


def test_an_attempt_starts_once(store: Store) -> None:
    attempt, _ = store.submit(config_of(), IDENTITY)
    assert store.start(attempt.id)
    assert not store.start(attempt.id)
    assert store.attempt(attempt.id).started_at is not None


def test_rename(store: Store) -> None:
    run_id = finish(store, config_of())
    assert store.run(run_id).name == "Wanda 50 %"
    store.rename(run_id, "My – wäy")
    assert store.run(run_id).name == "My – wäy"
    attempt, _ = store.submit(config_of(), IDENTITY)
    assert store.run(attempt.run_id).name == "My – wäy"


def test_delete_removes_rows_and_folder(store: Store) -> None:
    run_id = finish(store, config_of())
    other = finish(store, config_of(seed=1))
    attempt = store.run(run_id).attempt
    store.record(attempt.id, Message(text="Hello"))
    assert store.events(attempt.id)
    store.delete(run_id)
    assert not store.folder(run_id).exists()
    assert store.events(attempt.id) == []
    with pytest.raises(NotFound, match=run_id):
        store.run(run_id)
    with pytest.raises(NotFound):
        store.attempt(attempt.id)
    with pytest.raises(NotFound, match=run_id):
        store.delete(run_id)
    assert [run.id for run in store.runs()] == [other]
    assert store.masks(other)


def test_runs_come_latest_submitted_first(store: Store) -> None:
    ids = [store.submit(config_of(seed), IDENTITY)[0].run_id for seed in range(3)]
    assert [run.id for run in store.runs()] == ids[::-1]
    store.end(store.run(ids[0]).attempt.id, "failed")
    store.submit(config_of(0), IDENTITY)
    assert [run.id for run in store.runs()] == [ids[0], ids[2], ids[1]]


# Cancelling -----------------------------------------------------------------------------------------------------------


def test_a_queued_attempt_is_cancelled_at_once(store: Store) -> None:
    attempt, _ = store.submit(config_of(), IDENTITY)
    store.request_cancel(attempt.id)
    assert store.attempt(attempt.id).status == "cancelled"
    assert store.attempt(attempt.id).finished_at is not None
    assert not store.start(attempt.id)
    assert store.active() == []


def test_a_running_attempt_is_asked_to_stop(store: Store) -> None:
    attempt, _ = store.submit(config_of(), IDENTITY)
    store.start(attempt.id)
    assert not store.should_stop(attempt.id)
    store.request_cancel(attempt.id)
    assert store.should_stop(attempt.id)
    assert store.attempt(attempt.id).status == "running"


def test_a_deleted_attempt_should_stop(store: Store) -> None:
    attempt, _ = store.submit(config_of(), IDENTITY)
    store.start(attempt.id)
    store.delete(attempt.run_id)
    assert store.should_stop(attempt.id)
    assert not store.start(attempt.id)
    store.record(attempt.id, Message(text="Too late"))  # the worker may still be telling
    store.end(attempt.id, "cancelled")
    assert store.events(attempt.id) == []


def test_active_attempts_come_in_the_order_of_submission(store: Store) -> None:
    ids = [store.submit(config_of(seed), IDENTITY)[0].id for seed in range(3)]
    store.start(ids[1])
    store.end(ids[0], "failed")
    assert [attempt.id for attempt in store.active()] == ids[1:]


# Events and facts -----------------------------------------------------------------------------------------------------


def test_events_come_back_in_order_and_progress_only_counts(store: Store) -> None:
    attempt, _ = store.submit(config_of(), IDENTITY)
    store.start(attempt.id)
    keep = torch.ones(2, 3, dtype=torch.bool)
    told: list[Event] = [
        PhaseStarted(phase="Pruning", total=14),
        BlockStarted(block=0, name="layers.0"),
        pruned_module("layers.0.q", keep),
        Message(text="Ümlaut"),
    ]
    for event in told[:3]:
        store.record(attempt.id, event)
    store.record(attempt.id, Progress(done=5))
    now = store.attempt(attempt.id)
    assert (now.phase, now.phase_done, now.phase_total) == ("Pruning", 5, 14)
    store.record(attempt.id, told[3])
    assert [event for _, event in store.events(attempt.id)] == told
    times = [at for at, _ in store.events(attempt.id)]
    assert times == sorted(times)
    store.record(attempt.id, PhaseStarted(phase="Saving"))
    now = store.attempt(attempt.id)
    assert (now.phase, now.phase_done, now.phase_total) == ("Saving", 0, 0)


def test_facts(store: Store, home: Path) -> None:
    assert store.fact("speed") is None
    store.remember("speed", {"flops": 1.5e11, "nested": [1, {"a": None}]})
    assert store.fact("speed") == {"flops": 1.5e11, "nested": [1, {"a": None}]}
    store.remember("speed", {"flops": 2})
    second = Store.open()
    assert second.fact("speed") == {"flops": 2}
    second.close()


# Processes that die, processes that compete ---------------------------------------------------------------------------


@pytest.fixture
def peers(home: Path, tmp_path: Path) -> Iterator[list[Peer]]:
    both = [Peer(home), Peer(home)]
    yield both
    for peer in both:
        peer.close()


def test_processes_that_compete_and_one_that_dies(store: Store, peers: list[Peer], tmp_path: Path) -> None:
    """One test, since the two processes take seconds to start."""
    for peer in peers:
        peer.send("ready")
    for peer in peers:
        assert peer.answer()

    start_at = time.time() + 0.3
    for peer in peers:
        peer.send("open_fresh", str(tmp_path / "fresh"), 8, start_at)
    assert [peer.answer() for peer in peers] == [[], []]
    for number in range(8):
        fresh = Store.open(Settings(home=tmp_path / "fresh" / str(number)))
        assert fresh.runs() == []
        fresh.close()

    dying, living = peers
    arguments = [(config_of(seed).model_dump(mode="json"), IDENTITY.model_dump(mode="json")) for seed in range(4)]
    running = dying.ask("submit", *arguments[0], True)
    queued = dying.ask("submit", *arguments[1], False)
    theirs = living.ask("submit", *arguments[2], True)
    mine, _ = store.submit(config_of(3), IDENTITY)
    assert store.reconcile() == []

    dying.kill()
    deadline = time.monotonic() + 20
    interrupted: list[int] = []
    while len(interrupted) < 2 and time.monotonic() < deadline:
        interrupted += [attempt.id for attempt in store.reconcile()]
        time.sleep(0.02)
    assert sorted(interrupted) == sorted([running, queued])
    for attempt_id in (running, queued):
        attempt = store.attempt(attempt_id)
        assert attempt.status == "interrupted"
        assert attempt.finished_at is not None
        assert "repeat" in attempt.message
    assert {attempt.id for attempt in store.active()} == {theirs, mine.id}
    assert store.reconcile() == []

    again, new = store.submit(RunConfig.model_validate(arguments[0][0]), IDENTITY)
    assert new
    assert again.number == 2


def test_an_attempt_that_ends_while_others_are_reconciled_keeps_its_end(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process writes *finished* and exits between the look at the row and the look at the process."""
    attempt, _ = store.submit(config_of(), IDENTITY)
    store.start(attempt.id)
    second = Store.open()

    def finishes_and_exits(process: str, heartbeat_at: float) -> bool:
        second.end(attempt.id, "finished")
        return False

    monkeypatch.setattr(liveness, "alive", finishes_and_exits)
    store.reconcile()
    second.close()
    assert store.attempt(attempt.id).status == "finished"


def test_a_reused_process_id_is_not_the_process(store: Store) -> None:
    host, pid, started = json.loads(liveness.this_process())
    assert liveness.alive(json.dumps([host, pid, started]), 0.0)
    assert not liveness.alive(json.dumps([host, pid, started - 60]), time.time())


def test_a_process_on_another_host_lives_as_long_as_its_heart_beats() -> None:
    other = json.dumps(["another-host", 1, 1.0])
    assert liveness.alive(other, time.time() - 1)
    assert not liveness.alive(other, time.time() - liveness.SILENCE_SECONDS - 1)


# Storage policy -------------------------------------------------------------------------------------------------------


def weights_of(number: int, count: int = 250_000) -> dict[str, torch.Tensor]:
    return {"block.0.whole": torch.full((count,), float(number))}


def open_with(home: Path, **policy: Any) -> Store:
    return Store.open(Settings(home=home, **policy))


def test_a_budget_evicts_the_oldest_weights_first_and_nothing_else(home: Path) -> None:
    """Each run's weights take 1 MB; there is room for two and a half."""
    store = open_with(home, weights_budget_gb=0.0025)
    ids = [finish(store, config_of(seed), survivors=weights_of(seed)) for seed in range(2)]
    assert [store.survivors(run_id) is not None for run_id in ids] == [True, True]
    ids += [finish(store, config_of(seed), survivors=weights_of(seed)) for seed in (2, 3)]
    assert [store.survivors(run_id) is not None for run_id in ids] == [False, False, True, True]
    for seed, run_id in enumerate(ids):
        assert torch.equal(store.mask(run_id, "block.0.odd"), keeps()["block.0.odd"])
        assert store.run(run_id).result == result_of()
        assert len(store.modules(run_id)) == len(SHAPES)
        kept = store.survivors(run_id)
        if kept is not None:
            assert torch.equal(kept["block.0.whole"], weights_of(seed)["block.0.whole"])
        assert (store.folder(run_id) / "weights.safetensors").exists() == (kept is not None)
    store.close()


def test_a_repeated_run_keeps_its_new_weights_though_it_is_the_oldest(home: Path) -> None:
    store = open_with(home, weights_budget_gb=0.0025)
    ids = [finish(store, config_of(seed), survivors=weights_of(seed)) for seed in range(3)]
    assert [store.survivors(run_id) is not None for run_id in ids] == [False, True, True]
    finish(store, config_of(0), survivors=weights_of(0))
    assert [store.survivors(run_id) is not None for run_id in ids] == [True, False, True]
    store.close()


def test_weights_larger_than_the_budget_are_not_written_and_evict_nothing(home: Path) -> None:
    store = open_with(home, weights_budget_gb=0.0015)
    small = finish(store, config_of(0), survivors=weights_of(0))
    large = finish(store, config_of(1), survivors=weights_of(1, count=500_000))
    assert store.survivors(large) is None
    assert not (store.folder(large) / "weights.safetensors").exists()
    assert store.survivors(small) is not None
    store.close()


@pytest.mark.parametrize(("policy", "kept"), [("never", False), ("always", True)])
def test_keep_weights_never_and_always(home: Path, policy: str, kept: bool) -> None:
    store = open_with(home, keep_weights=policy, weights_budget_gb=0)
    ids = [finish(store, config_of(seed), survivors=weights_of(seed)) for seed in range(2)]
    assert [store.survivors(run_id) is not None for run_id in ids] == [kept, kept]
    assert [store.run(run_id).weights_bytes > 0 for run_id in ids] == [kept, kept]
    store.close()


def test_delete_weights_keeps_the_rest(store: Store) -> None:
    run_id = finish(store, config_of(), survivors=weights_of(1))
    store.delete_weights(run_id)
    assert store.survivors(run_id) is None
    assert store.run(run_id).weights_bytes == 0
    assert store.masks(run_id).keys() == SHAPES.keys()
    store.delete_weights(run_id)


def test_a_repeat_replaces_the_artifacts(store: Store) -> None:
    run_id = finish(store, config_of(), value=20.0, survivors=weights_of(1))
    assert finish(store, config_of(), value=21.0, survivors=weights_of(2)) == run_id
    kept = store.survivors(run_id)
    assert kept is not None
    assert kept["block.0.whole"][0] == 2
    result = store.run(run_id).result
    assert result is not None
    assert result.perplexity.value == 21.0
    assert [file.name for file in store.folder(run_id).parent.iterdir()] == [run_id]  # nothing unfinished stays


# The schema -----------------------------------------------------------------------------------------------------------


def test_the_migrations_make_exactly_the_tables(home: Path) -> None:
    engine = open_database(Settings().database_url, home)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    engine.dispose()


def test_a_store_from_before_there_were_sweeps_keeps_its_runs(home: Path) -> None:
    """A database as migration 0002 left it, with a finished run written by hand."""
    home.mkdir()
    engine = create_engine(Settings().database_url)
    schema = Config()
    schema.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        schema.attributes["connection"] = connection
        command.upgrade(schema, "0002")
        written = (config_of().model_dump_json(), IDENTITY.model_dump_json(), result_of().model_dump_json())
        connection.exec_driver_sql(
            "INSERT INTO runs (id, kind, name, config, identity, created_at, result, weights_bytes) "
            "VALUES ('abc', 'run', 'old', ?, ?, 1.0, ?, 0)",
            written,
        )
        connection.exec_driver_sql(
            "INSERT INTO attempts (id, run_id, number, status, message, submitted_at, phase, phase_done, phase_total, "
            "cancel_requested, process, heartbeat_at) VALUES (7, 'abc', 1, 'finished', '', 1.0, '', 0, 0, 0, '', 1.0)"
        )
        tables = inspect(connection).get_table_names()
    assert "sweeps" not in tables
    engine.dispose()

    store = Store.open()
    (run,) = store.runs()
    assert (run.id, run.config, run.identity, run.result) == ("abc", config_of(), IDENTITY, result_of())
    assert store.attempts("abc")[0].id == 7
    sweep = Sweep.of(config_of(), sparsity=[0.5, 0.6])
    points = [Point(planned.config, IDENTITY, turn) for turn, planned in enumerate(sweep.planned)]
    record = store.sweeps.submit(sweep, points, [])
    assert store.sweeps.all() == [record]
    store.close()


def test_a_migration_that_was_interrupted_is_done_again(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The very first start is killed when some of the tables are there."""

    class Killed(BaseException):
        pass

    def die(*arguments: Any, **keywords: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Operations, "create_index", die)
        with pytest.raises(Killed):
            Store.open()
    store = Store.open()
    assert finish(store, config_of()) == store.runs()[0].id
    store.close()


def test_a_store_opened_again_has_what_was_there(store: Store) -> None:
    run_id = finish(store, config_of())
    again = Store.open()
    assert again.run(run_id) == store.run(run_id)
    again.close()


def test_the_database_can_be_another(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRUNESCOPE_DATABASE", f"sqlite:///{tmp_path / 'elsewhere.db'}")
    store = Store.open()
    run_id = finish(store, config_of())
    store.close()
    assert (tmp_path / "elsewhere.db").is_file()
    assert not (home / "runs.sqlite3").exists()
    shutil.rmtree(home)
    store = Store.open()
    assert store.run(run_id).result == result_of()
    store.close()


def _a_file(path: Path) -> Path:
    path.write_text("x")
    return path


UNUSABLE_HOMES: dict[str, Callable[[Path], Path]] = {
    "is a file": lambda path: _a_file(path / "file"),
    "below a file": lambda path: _a_file(path / "file") / "home",
    "no one may write there": lambda path: Path("/proc/prunescope-home"),
}


@pytest.mark.parametrize("kind", UNUSABLE_HOMES)
def test_an_unusable_home_is_said_in_one_sentence(tmp_path: Path, kind: str) -> None:
    home = UNUSABLE_HOMES[kind](tmp_path)
    with pytest.raises(InputError) as caught:
        Store.open(Settings(home=home))
    assert str(home) in str(caught.value)
    assert "\n" not in str(caught.value)


def _no_database(home: Path) -> str | None:
    home.mkdir()
    (home / "runs.sqlite3").write_bytes(b"this is no database, " * 300)
    return None


def _a_newer_schema(home: Path) -> str | None:
    engine = open_database(Settings(home=home).database_url, home)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    return None


UNUSABLE_DATABASES: dict[str, Callable[[Path], str | None]] = {
    "no database": _no_database,
    "a newer schema": _a_newer_schema,
    "no URL": lambda home: "nonsense",
    "a missing driver": lambda home: "mysql+nodriver://user:secret@host/runs",
    "a folder that is not there": lambda home: f"sqlite:///{home}/missing/runs.sqlite3",
}


@pytest.mark.parametrize("kind", UNUSABLE_DATABASES)
def test_an_unusable_database_is_said_in_one_sentence(home: Path, kind: str) -> None:
    url = UNUSABLE_DATABASES[kind](home)
    with pytest.raises(InputError, match="database") as caught:
        Store.open(Settings(home=home, database=url))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
