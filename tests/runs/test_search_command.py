"""Searches for an allocation on tiny models: every trial a run, nothing run twice, the best as a file."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from core.allocation.manual import Manual
from core.allocation.table import read_sparsities
from core.api import run_config
from core.cli.commands import main
from core.cli.output import SweepBar
from core.config import RunConfig
from core.errors import Cancelled, InputError
from core.events import Event, Progress
from core.search import Search
from core.search.records import SearchRecord
from core.search.running import TrialBegun, TrialEnded, run_search
from core.search.studies import known_searches
from core.store import Store
from tests.runs.material import run_options, sentence

Configs = Callable[..., RunConfig]


@pytest.fixture
def core(tiny_folder: Callable[..., Path], texts: dict[str, Path]) -> Callable[..., Result]:
    """Runs a command; ``search`` with the options of a quick run."""

    def run(*arguments: Any, **changes: Any) -> Result:
        options = run_options(tiny_folder(), texts, **changes) if arguments[0] == "search" else []
        return CliRunner().invoke(main, [str(argument) for argument in (*arguments, *options)])

    return run


def succeeded(result: Result) -> Result:
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result


def steps(search: Search, store: Store, trials: int) -> tuple[list[TrialBegun | TrialEnded], SearchRecord]:
    """What a search tells, and what it returns."""
    told, running = [], run_search(search, store, trials)
    while True:
        try:
            told.append(next(running))
        except StopIteration as stop:
            return told, stop.value


def attempts(store: Store) -> dict[str, int]:
    return {run.id: run.attempt.number for run in store.runs()}


def test_every_trial_is_a_run_that_anybody_can_repeat(config: Configs, store: Store) -> None:
    by_hand = Manual(values={"0": 0.6, "1": 0.4})
    search = Search(base=config().model_copy(update={"allocation": by_hand}), seed=1)
    told, record = steps(search, store, 4)
    assert [type(step) for step in told] == [TrialBegun, TrialEnded] * 4
    assert [trial.start for trial in record.trials] == ["Uniform", "Manual (values)", None, None]
    assert record.trials[1].sparsities == pytest.approx({0: 0.6, 1: 0.4})
    assert [trial.run_id for trial in record.trials] == [run.id for run in reversed(store.runs())]
    for trial in record.trials:
        run = store.run(trial.run_id or "")
        assert run.result is not None
        assert trial.perplexity == run.result.perplexity.value
        table = store.modules(run.id)
        assert (table.target * table.parameters).sum() / table.parameters.sum() == pytest.approx(0.5, abs=1e-6)
        for block, modules in table.groupby("block"):
            assert set(modules.target) == {trial.sparsities[int(block)]}
    assert store.run(record.trials[0].run_id or "").config == config()
    perplexities = [trial.perplexity for trial in record.trials if trial.perplexity is not None]
    assert len(perplexities) == 4
    assert record.best is not None
    assert record.best.perplexity == min(perplexities)


def test_what_was_run_is_not_run_again(config: Configs, store: Store) -> None:
    _, uniform = run_config(config(), store)
    search = Search(base=config())
    told, record = steps(search, store, 3)
    ended = [step.known for step in told if isinstance(step, TrialEnded)]
    assert ended == [True, False, False]
    assert record.trials[0].run_id == uniform.id

    told, again = steps(search, store, 3)
    assert told == []
    assert again == record
    told, more = steps(search, store, 4)
    assert len(told) == 2
    assert more.trials[:3] == record.trials
    assert set(attempts(store).values()) == {1}
    assert known_searches(store.home) == [more]

    told, _ = steps(search.model_copy(update={"highest": 0.9}), store, 1)  # another search: it finds the same run
    assert told[1].known  # type: ignore[union-attr]


def test_a_trial_leaves_no_weights(config: Configs, store: Store) -> None:
    _, record = steps(Search(base=config("sparsegpt")), store, 2)
    assert [store.run(trial.run_id or "").weights_bytes for trial in record.trials] == [0, 0]


def test_it_stops_between_trials_and_within_one(config: Configs, store: Store) -> None:
    search = Search(base=config())
    running = run_search(search, store, 3)
    assert isinstance(next(running), TrialBegun)
    assert isinstance(next(running), TrialEnded)
    with pytest.raises(InputError, match="under way in another process"):
        next(run_search(search, store, 3))
    begun = next(running)
    running.close()
    assert len(store.runs()) == 1

    def cancel(event: Event) -> None:
        if isinstance(event, Progress):
            store.request_cancel(store.active()[0].id)

    stopped = run_search(search, store, 3, cancel)
    assert next(stopped).trial == begun.trial
    with pytest.raises(Cancelled):
        next(stopped)
    told, record = steps(search, store, 3)
    assert told[0].trial.sparsities == begun.trial.sparsities
    assert record.ended == len(record.trials) == 3
    assert attempts(store)[record.trials[1].run_id or ""] == 2


def test_a_trial_that_fails_says_why_and_is_left_behind(
    config: Configs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Search(base=config())
    steps(search, store, 1)
    with monkeypatch.context() as patch:

        def broken(*arguments: Any) -> None:
            raise InputError("The trial broke.")

        patch.setattr("core.worker.execute", broken)
        with pytest.raises(InputError, match="The trial broke"):
            steps(search, store, 3)
    _, record = steps(search, store, 3)
    assert [trial.state for trial in record.trials] == ["finished", "failed", "finished"]
    parent = record.parent(2)
    assert parent is not None
    assert parent.number == 0


def test_the_command_prints_trials_and_writes_the_best(
    core: Callable[..., Result], store: Store, tmp_path: Path
) -> None:
    out = tmp_path / "best.csv"
    done = succeeded(core("search", "--trials", 3, "--step", 0.2, "--out", out))
    (record,) = known_searches(store.home)
    assert record.search.step == 0.2
    assert "3 of 3: " in done.stderr
    lines = done.stdout.splitlines()
    for trial in record.trials:
        assert any(line.startswith(f"{trial.number + 1:>4}  perplexity {trial.perplexity:.3f} (") for line in lines)
    assert f"studio_search={record.id}&studio_target=0.5" in done.stdout
    assert "flatters" in done.stdout

    best = record.best
    assert best is not None
    with out.open(encoding="utf-8", newline="") as file:
        assert {int(row["block"]): float(row["sparsity"]) for row in csv.DictReader(file)} == best.sparsities
    by_module = read_sparsities(out.read_text(encoding="utf-8"))
    assert len(by_module) == 14

    again = succeeded(core("search", "--trials", 3, "--step", 0.2))
    assert " of 3" not in again.stderr
    assert set(attempts(store).values()) == {1}
    shown = succeeded(core("searches", "show", record.id, "--out", tmp_path / "best.json"))
    assert read_sparsities((tmp_path / "best.json").read_text(encoding="utf-8")) == by_module
    assert all(str(trial.run_id) in shown.stdout for trial in record.trials)
    assert record.id in succeeded(core("searches", "list")).stdout
    succeeded(core("searches", "delete", record.id))
    assert known_searches(store.home) == []
    assert len(store.runs()) == len({trial.run_id for trial in record.trials})


def test_ctrl_c_stops_and_the_same_command_goes_on(
    core: Callable[..., Result], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen = SweepBar.__call__
    with monkeypatch.context() as patch:

        def interrupted(bar: SweepBar, event: Event) -> None:
            listen(bar, event)
            if bar._begun == 2 and isinstance(event, Progress):
                raise KeyboardInterrupt

        patch.setattr(SweepBar, "__call__", interrupted)
        stopped = core("search", "--trials", 3)
    assert stopped.exit_code == 130
    assert "the same command goes on" in stopped.stderr
    assert known_searches(store.home)[0].ended == 1
    done = succeeded(core("search", "--trials", 3))
    assert "2 of 3: " in done.stderr
    assert "1 of 3: " not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sparsity", "2:4"], "prunes every block alike"),
        (["--sparsity", "0.97"], "is not between lowest"),
        (["--step", "2"], "step = '2' is not valid"),
        (["--out", "best.txt"], "end it in .csv, .json"),
    ],
)
def test_what_cannot_be_searched_is_one_sentence(
    core: Callable[..., Result], arguments: list[str], message: str
) -> None:
    assert message in sentence(core("search", *arguments))


def test_an_unknown_search_is_one_sentence(core: Callable[..., Result]) -> None:
    assert "does not exist" in sentence(core("searches", "show", "nothing"))
