"""Sweeps on a real Dask worker: what is run and what never again, cancelling, and a worker that is killed."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core.api import run_config
from core.config import RunConfig
from core.errors import InputError, NotFound
from core.store import SweepProgress, SweepRecord
from core.sweeps import Sweep
from tests.runs.desk import PATIENCE, Configs, Desk, open_desk, wait
from tests.runs.material import intact


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Desk]:
    with open_desk(tmp_path_factory.mktemp("sweeps") / "home", cache) as desk:
        yield desk


@pytest.fixture
def slow(config: Configs) -> Callable[..., RunConfig]:
    """Configs of runs that take about half a second, in small steps."""

    def make(method: str = "magnitude", **changes: Any) -> RunConfig:
        steps = {"evaluation__windows": 80, "evaluation__seqlen": 8, "evaluation__batch_size": 1}
        return config(method, **(steps | changes))

    return make


def progress(desk: Desk, record: SweepRecord) -> SweepProgress:
    return desk.store.sweeps.progress(record.id)


def until_done(desk: Desk, record: SweepRecord) -> SweepProgress:
    wait(lambda: not progress(desk, record).active, PATIENCE, lambda: progress(desk, record))
    return progress(desk, record)


def attempts(desk: Desk, record: SweepRecord) -> list[int]:
    return [point.attempts for point in progress(desk, record).points]


def test_a_killed_worker_costs_one_point_and_resume_runs_only_that(desk: Desk, slow: Configs) -> None:
    sweep = Sweep.of(slow(calibration__seed=1), method=["magnitude", "wanda", "ria"], sparsity=[0.3, 0.6])
    record = desk.jobs.sweep(sweep, "killed")
    assert [point.turn for point in progress(desk, record).points] == [0, 3, 1, 4, 2, 5]

    def in_the_middle() -> bool:
        now = progress(desk, record)
        measures = any(0 < point.phase_done < point.phase_total for point in now.running)
        return now.finished >= 2 and measures

    wait(in_the_middle, tell=lambda: progress(desk, record))
    (running,) = progress(desk, record).running
    killed = desk.store.run(running.run_id).attempt
    os.kill(desk.worker_of(killed), signal.SIGKILL)
    desk.until(killed, "interrupted")
    after = until_done(desk, record)
    assert after.counts == {"finished": 5, "interrupted": 1}  # the others went on by themselves
    assert [point.run_id for point in after.due] == [running.run_id]
    assert {desk.jobs._sends[desk.store.run(point.run_id).attempt.id] for point in after.points} == {1}
    assert intact(desk.home)

    desk.jobs.resume_sweep(record.id)
    done = until_done(desk, record)
    assert done.complete
    assert [point.attempts for point in done.points] == [
        2 if point.run_id == running.run_id else 1 for point in done.points
    ]
    runs = desk.store.sweeps.runs(record.id)
    assert [run.config for run in runs] == [planned.config for planned in sweep.planned]
    assert all(run.result is not None for run in runs)
    finished_at = [desk.store.attempts(run.id)[-1].finished_at for run in sorted(runs, key=lambda run: run.created_at)]
    assert len(set(finished_at)) == 6

    desk.jobs.resume_sweep(record.id)
    assert desk.jobs.sweep(sweep).id == record.id
    assert attempts(desk, record) == [point.attempts for point in done.points]
    assert desk.store.sweeps.get(record.id).name == "killed"


def test_sweeps_share_their_points_with_each_other_and_with_single_runs(desk: Desk, config: Configs) -> None:
    single = desk.until(desk.jobs.submit(config("magnitude", 0.4, calibration__seed=2)), "finished")
    first = desk.jobs.sweep(Sweep.of(config(calibration__seed=2), method=["magnitude"], sparsity=[0.3, 0.4, 0.5]))
    second = desk.jobs.sweep(Sweep.of(config(calibration__seed=2), method=["magnitude", "wanda"], sparsity=[0.4, 0.5]))
    assert until_done(desk, first).complete
    assert until_done(desk, second).complete
    assert attempts(desk, first) == [1, 1, 1]
    assert attempts(desk, second) == [1, 1, 1, 1]
    shared = {run.id for run in desk.store.sweeps.runs(first.id)} & {
        run.id for run in desk.store.sweeps.runs(second.id)
    }
    assert len(shared) == 2
    assert single.run_id in shared


def test_cancelling_stops_what_waits_and_what_runs_and_resume_goes_on(desk: Desk, slow: Configs) -> None:
    base = slow(calibration__seed=3, evaluation__windows=150)
    sweep = Sweep.of(base, sparsity=[0.3, 0.4, 0.5, 0.6])
    record = desk.jobs.sweep(sweep)
    wait(lambda: progress(desk, record).running)
    desk.jobs.cancel_sweep(record.id)
    assert progress(desk, record).counts.get("queued") is None  # at once
    cancelled = until_done(desk, record)
    assert cancelled.counts == {"cancelled": 4}
    (begun,) = [point for point in cancelled.points if desk.store.attempts(point.run_id)[-1].started_at]
    assert begun.turn == 0

    desk.jobs.resume_sweep(record.id)
    wait(lambda: progress(desk, record).running)
    single = desk.jobs.submit(slow("wanda", calibration__seed=30, evaluation__windows=5))
    desk.until(single, "finished")
    # A single run goes before the points that wait, but for the second one, which the worker may hold already.
    assert progress(desk, record).counts["queued"] >= 1
    desk.jobs.cancel_sweep(record.id)
    until_done(desk, record)


def test_a_point_that_fails_does_not_stop_the_others(desk: Desk, config: Configs, texts: dict[str, Path]) -> None:
    corpora = [{"corpus": "text", "path": str(texts[name])} for name in ("short", "evaluation")]
    sweep = Sweep.of(config(calibration__seed=4), evaluation__corpus=corpora, sparsity=[0.3, 0.5])
    record = desk.jobs.sweep(sweep)
    done = until_done(desk, record)
    assert [point.state for point in done.points] == ["failed", "failed", "finished", "finished"]
    assert not done.complete
    ((reason, count),) = done.failures.items()
    assert count == 2
    assert "evaluation.seqlen = 32" in reason
    desk.jobs.resume_sweep(record.id)
    assert [point.attempts for point in until_done(desk, record).points] == [2, 2, 1, 1]


def test_a_deleted_run_is_missed_and_made_again(desk: Desk, config: Configs) -> None:
    record = desk.jobs.sweep(Sweep.of(config(calibration__seed=5), sparsity=[0.3, 0.5]))
    first, second = until_done(desk, record).points
    desk.store.delete(first.run_id)
    assert [point.state for point in progress(desk, record).points] == ["missing", "finished"]
    assert [run.id for run in desk.store.sweeps.runs(record.id)] == [second.run_id]
    desk.jobs.resume_sweep(record.id)
    assert until_done(desk, record).complete
    assert attempts(desk, record) == [1, 1]

    desk.store.sweeps.delete(record.id)
    assert desk.store.run(first.run_id).result is not None
    assert progress(desk, record).points == ()
    with pytest.raises(NotFound, match=record.id):
        desk.jobs.resume_sweep(record.id)


def test_a_text_that_changes_cannot_change_the_points(
    desk: Desk, slow: Configs, texts: dict[str, Path], tmp_path: Path
) -> None:
    """What waits is refused instead of being measured on another text under the old name; so is what was deleted."""
    own = tmp_path / "own.txt"
    own.write_text(texts["evaluation"].read_text(encoding="utf-8"), encoding="utf-8")
    corpus = {"corpus": "text", "path": str(own)}
    sweep = Sweep.of(slow(calibration__corpus=corpus, evaluation__windows=150), sparsity=[0.3, 0.5])
    record = desk.jobs.sweep(sweep)
    wait(lambda: progress(desk, record).running[:1] and progress(desk, record).running[0].phase_total)
    own.write_text(texts["calibration"].read_text(encoding="utf-8"), encoding="utf-8")
    done = until_done(desk, record)
    assert [point.state for point in done.points] == ["finished", "failed"]
    assert next(iter(done.failures)) == (
        "The run's calibration text has changed since it was submitted; submit it again as it is now."
    )
    desk.store.delete(done.points[0].run_id)
    with pytest.raises(InputError, match="lacks 1 runs that were deleted"):
        desk.jobs.resume_sweep(record.id)
    assert [point.attempts for point in until_done(desk, record).points] == [0, 2]
    again = desk.jobs.sweep(sweep)
    assert again.id != record.id
    desk.jobs.cancel_sweep(again.id)
    until_done(desk, again)


def test_what_is_known_to_be_wrong_is_refused_before_it_is_stored(desk: Desk, config: Configs, tmp_path: Path) -> None:
    before = [record.id for record in desk.store.sweeps.all()]
    missing = {"corpus": "text", "path": str(tmp_path / "none.txt")}
    wrong: dict[str, dict[str, Any]] = {
        r"Nothing of this goes together: calibration\.seqlen = 65": {"calibration__seqlen": [65, 66]},
        r"Nothing of this goes together: .* does not go with": {
            "method": ["sparsegpt"],
            "stages": [["reconstruction"]],
        },
        r"none\.txt": {"calibration__corpus": [missing]},
    }
    for words, axes in wrong.items():
        with pytest.raises(InputError, match=words):
            desk.jobs.sweep(Sweep.of(config(), **axes))
    assert [record.id for record in desk.store.sweeps.all()] == before


def test_what_the_model_cannot_take_is_left_out_and_kept_with_the_sweep(desk: Desk, config: Configs) -> None:
    record = desk.jobs.sweep(
        Sweep.of(config(calibration__seed=6), sparsity=["2:4", "3:5"], stages=[[], ["reallocation"]])
    )
    assert len(until_done(desk, record).points) == 2
    assert {left.choice["sparsity"] for left in record.left_out} == {"3:5"}
    assert all("3:5 does not fit" in left.reason for left in record.left_out)
    assert desk.store.sweeps.get(record.id) == record


def test_the_worker_comes_to_the_same_as_this_process_point_after_point(
    desk: Desk, config: Configs, store: Any
) -> None:
    """The worker prunes all points of one dense model that it keeps; none may leave a trace in the next."""
    sweep = Sweep.of(
        config(calibration__seed=7),
        method=["sparsegpt", "wanda"],
        stages=[[], ["barber"], ["low_rank"], ["reallocation"]],
        sparsity=["2:4"],
    )
    record = desk.jobs.sweep(sweep)
    assert until_done(desk, record).complete
    runs = desk.store.sweeps.runs(record.id)
    assert len(runs) == 7
    for run in runs:
        _, here = run_config(run.config, store)
        assert here.result is not None
        assert run.result is not None
        assert here.result.perplexity.value == pytest.approx(run.result.perplexity.value, rel=1e-6), run.name
        assert here.result.dense_perplexity.value == pytest.approx(run.result.dense_perplexity.value, rel=1e-6)
