"""Sweeps and differences of runs on the command line, and sweeps in the store."""

import csv
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from core.api import run_config
from core.cli.commands import main
from core.cli.output import SweepBar
from core.config import RunConfig, identify
from core.difference import config_difference, figure_difference
from core.errors import NotFound
from core.events import Event, Progress
from core.models.sources import ModelSource
from core.stages.low_rank import LowRank
from core.store import Run, Store, SweepRecord
from core.sweeps import Sweep
from core.sweeps.points import settle
from core.sweeps.running import attempts_due
from tests.runs.material import run_options, sentence

Folders = Callable[..., Path]
Texts = dict[str, Path]


@pytest.fixture
def core(tiny_folder: Folders, texts: Texts) -> Callable[..., Result]:
    """Runs a command; ``sweep`` with the options of a quick run."""

    def run(*arguments: Any, **changes: Any) -> Result:
        options = run_options(tiny_folder(), texts, **({"method": None} | changes)) if arguments[0] == "sweep" else []
        return CliRunner().invoke(main, [str(argument) for argument in (*arguments, *options)])

    return run


def succeeded(result: Result) -> Result:
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result


def rows(markdown: str) -> list[list[str]]:
    """The cells of a printed table, without its head."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def perplexity(run: Run) -> float:
    assert run.result is not None
    return run.result.perplexity.value


AXES = ["--axis", "method=magnitude,wanda", "--axis", "sparsity=0.3,2:4", "--axis", "calibration.seed=0,1"]


def test_a_sweep_prints_and_writes_its_table(core: Callable[..., Result], store: Store, tmp_path: Path) -> None:
    done = succeeded(core("sweep", *AXES, "--name", "mine", "--out", tmp_path / "table.json"))
    (record,) = store.sweeps.all()
    runs = store.sweeps.runs(record.id)
    assert [(run.config.method.name, run.config.pattern.label, run.config.calibration.seed) for run in runs] == [
        (method, shape, seed)
        for method in ("magnitude", "wanda")
        for shape in ("Unstructured", "2:4")
        for seed in (0, 1)
    ]
    printed = rows(done.stdout)
    assert [row[:2] for row in printed] == [
        ["30%", "Magnitude"],
        ["2:4", "Magnitude"],
        ["30%", "Wanda"],
        ["2:4", "Wanda"],
    ]
    for row, pair in zip(printed, zip(runs[::2], runs[1::2], strict=True), strict=True):
        values = [perplexity(run) for run in pair]
        assert row[2] == f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f} (2 seeds)"
    assert "number of seeds" in done.stdout
    written = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    assert [(row["run"], row["perplexity"], row["seed"]) for row in written] == [
        (run.id, perplexity(run), run.config.calibration.seed) for run in runs
    ]
    assert record.name == "mine"
    assert [f"{number} of 8: " in done.stderr for number in range(1, 9)] == [True] * 8

    again = succeeded(core("sweep", *AXES, "--out", tmp_path / "table.csv"))
    assert again.stdout == done.stdout
    assert "of 8" not in again.stderr
    assert store.sweeps.get(record.id) == record
    assert [point.attempts for point in store.sweeps.progress(record.id).points] == [1] * 8
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        assert [row["run"] for row in csv.DictReader(file)] == [run.id for run in runs]


def test_ctrl_c_stops_and_the_same_command_goes_on(
    core: Callable[..., Result], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    listen = SweepBar.__call__
    with monkeypatch.context() as patch:
        told: list[Event] = []

        def interrupted(bar: SweepBar, event: Event) -> None:
            listen(bar, event)
            told.append(event)
            if bar._begun == 3 and isinstance(event, Progress):
                raise KeyboardInterrupt

        patch.setattr(SweepBar, "__call__", interrupted)
        stopped = core("sweep", *AXES)
    assert stopped.exit_code == 130
    assert "the same command goes on" in stopped.stderr
    (record,) = store.sweeps.all()
    before = store.sweeps.progress(record.id)
    assert before.counts == {"finished": 2, "cancelled": 1, "missing": 5}
    (cut,) = [point for point in before.points if point.state == "cancelled"]
    assert store.sweeps.is_stopped(record.id)

    assert len(rows(succeeded(core("sweep", *AXES)).stdout)) == 4
    after = store.sweeps.progress(record.id)
    assert after.complete
    assert not store.sweeps.is_stopped(record.id)
    assert [point.attempts for point in after.points] == [1 + (point.run_id == cut.run_id) for point in after.points]
    assert {run.id for run in store.runs()} == {point.run_id for point in after.points}


def test_a_process_that_dies_leaves_points_that_are_run_again(core: Callable[..., Result], store: Store) -> None:
    """What it had begun is marked as interrupted when the next one looks; here its attempt is a dead process's."""
    succeeded(core("sweep", "--axis", "sparsity=0.3"))
    (finished,) = store.runs()
    config = finished.config.model_copy(update={"sparsity": 0.5})
    attempt, _ = store.submit(config, finished.identity)
    assert store.start(attempt.id)
    with store._engine.begin() as connection:
        gone = json.dumps(["localhost-gone", 1, 1.0])
        connection.exec_driver_sql("UPDATE attempts SET process = ?, heartbeat_at = 0 WHERE id = ?", (gone, attempt.id))
    succeeded(core("sweep", "--axis", "sparsity=0.3,0.5"))
    assert [each.status for each in store.attempts(attempt.run_id)] == ["interrupted", "finished"]
    assert len(store.attempts(finished.id)) == 1


def test_what_is_under_way_elsewhere_is_left_alone(core: Callable[..., Result], store: Store) -> None:
    succeeded(core("sweep", "--axis", "sparsity=0.3"))
    (finished,) = store.runs()
    attempt, _ = store.submit(finished.config.model_copy(update={"sparsity": 0.5}), finished.identity)
    done = succeeded(core("sweep", "--axis", "sparsity=0.3,0.5,0.7"))
    assert [row[0] for row in rows(done.stdout)] == ["30%", "70%"]
    assert "1 points are under way elsewhere" in done.stderr
    assert [each.status for each in store.attempts(attempt.run_id)] == ["queued"]


def test_a_point_that_fails_is_told_after_the_table_of_the_others(
    core: Callable[..., Result], store: Store, texts: Texts
) -> None:
    corpora = json.dumps([{"corpus": "text", "path": str(texts[name])} for name in ("short", "evaluation")])
    done = core("sweep", "--axis", f"evaluation.corpus={corpora}", "--axis", "sparsity=0.3,0.5", evaluation_corpus=None)
    message = sentence(done, progress=True)
    assert message.startswith("2 of 4 points failed: ")
    assert "evaluation.seqlen = 32" in message
    assert ["evaluation.txt" in row[2] for row in rows(done.stdout)] == [True, True]
    (record,) = store.sweeps.all()
    shown = succeeded(core("sweeps", "show", record.id)).stdout
    assert "4 points, 2 failed, 2 finished" in shown
    assert "2 failed: " in shown


def test_what_is_left_out_is_told(core: Callable[..., Result], store: Store) -> None:
    done = succeeded(core("sweep", "--axis", "stages=none,reallocation", "--axis", "sparsity=0.5,2:4"))
    assert [row[:3] for row in rows(done.stdout)] == [
        ["50%", "Wanda", "–"],
        ["2:4", "Wanda", "–"],
        ["2:4", "Wanda", "Channel reallocation"],
    ]
    assert "Left out (stages Channel reallocation, sparsity 0.5): stage = reallocation does not go with" in done.stderr
    (record,) = store.sweeps.all()
    assert [left.choice for left in record.left_out] == [{"stages": "Channel reallocation", "sparsity": "0.5"}]
    assert "Left out" in succeeded(core("sweeps", "show", record.id)).stderr


def test_options_of_a_run_hold_for_all_points(core: Callable[..., Result], store: Store) -> None:
    """Also where they would not go together with the defaults of what is an axis."""
    done = succeeded(core("sweep", "--axis", "sparsity=2:4,4:8", "--stage", "reallocation", method="ria"))
    assert [row[:3] for row in rows(done.stdout)] == [[s, "RIA", "Channel reallocation"] for s in ("2:4", "4:8")]
    assert {run.config.calibration.windows for run in store.runs()} == {4}


def test_sweeps_are_listed_resumed_and_deleted(core: Callable[..., Result], store: Store, tmp_path: Path) -> None:
    succeeded(core("sweep", "--axis", "sparsity=0.3,0.5", "--name", "two points"))
    (record,) = store.sweeps.all()
    assert record.id in succeeded(core("sweeps", "list")).stdout
    assert "2 of 2" in succeeded(core("sweeps", "list")).stdout
    lost = store.sweeps.runs(record.id)[0]
    succeeded(core("runs", "delete", lost.id))
    assert "2 points, 1 missing, 1 finished" in succeeded(core("sweeps", "show", record.id)).stdout
    done = succeeded(core("sweeps", "resume", record.id, "--out", tmp_path / "table.md"))
    assert [row[0] for row in rows(done.stdout)] == ["30%", "50%"]
    content = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert content.startswith("```\npython -m core ")
    assert rows(content) == rows(done.stdout)
    assert store.run(lost.id).result is not None
    succeeded(core("sweeps", "delete", record.id))
    assert store.sweeps.all() == []
    assert len(store.runs()) == 2
    for command in ("show", "resume", "delete"):
        assert "does not exist" in sentence(core("sweeps", command, record.id))


REFUSED: dict[str, tuple[list[str], dict[str, Any], str]] = {
    "an axis twice": (["--axis", "method=wanda"], {"method": "ria"}, "axis method is given twice"),
    "a setting twice": (["--axis", "calibration.windows=3,4"], {}, "--calibration-windows is given beside --axis"),
    "two models": (["--axis", "model=embedded"], {}, "--model is given beside --axis model"),
    "no such part": (["--axis", "sparseness=1"], {}, "axis sparseness is no part of a run"),
    "nothing together": (["--axis", "sparsity=1.5"], {}, "Nothing of this goes together: sparsity = 1.5"),
    "no such device": (["--axis", "sparsity=0.5", "--device", "abacus"], {}, "device = 'abacus'"),
    "no such file": (["--axis", "sparsity=0.5"], {"evaluation_corpus": "/nowhere.txt"}, "/nowhere.txt"),
    "no such table": (["--axis", "sparsity=0.5", "--out", "table.xlsx"], {}, "out = 'table.xlsx'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_swept_is_one_sentence(core: Callable[..., Result], store: Store, kind: str) -> None:
    words, changes, part = REFUSED[kind]
    assert part in sentence(core("sweep", *words, **changes))
    assert store.runs() == []


# Two runs -------------------------------------------------------------------------------------------------------------


def test_two_runs_are_compared(
    config: Callable[..., RunConfig], store: Store, core: Callable[..., Result], tmp_path: Path
) -> None:
    """Against plain counts on the masks, and the textbook's paired difference."""
    a = run_config(config("magnitude", 0.5), store)[1]
    b = run_config(config("ria", 0.6, calibration__seed=3), store)[1]
    done = succeeded(core("compare", a.id, b.id, "--out", tmp_path / "difference.json"))
    written = json.loads((tmp_path / "difference.json").read_text(encoding="utf-8"))
    assert [(row["path"], row["a"], row["b"]) for row in written["config"]] == [
        ("method", "magnitude", "ria"),
        ("sparsity", 0.5, 0.6),
        ("calibration.seed", 0, 3),
        ("method.power", None, 0.5),
    ]
    figures = {row["figure"]: row for row in written["figures"]}
    assert figures["perplexity"]["difference"] == pytest.approx(perplexity(b) - perplexity(a))
    assert a.result is not None
    assert b.result is not None
    paired = [y - x for x, y in zip(a.result.perplexity.losses, b.result.perplexity.losses, strict=True)]
    assert figures["mean loss (nats)"]["difference"] == pytest.approx(statistics.mean(paired))
    expected = statistics.stdev(paired) / len(paired) ** 0.5
    assert figures["mean loss (nats)"]["standard error"] == pytest.approx(expected)

    # Windows are the same however many are run at once.
    evaluation = b.config.evaluation.model_copy(update={"batch_size": b.config.evaluation.batch_size + 1})
    batched = figure_difference(
        a, b.model_copy(update={"config": b.config.model_copy(update={"evaluation": evaluation})})
    )
    assert batched.set_index("figure").loc["mean loss (nats)", "standard error"] == pytest.approx(expected)

    masks = [store.masks(run.id) for run in (a, b)]
    assert sorted(row["module"] for row in written["modules"]) == sorted(masks[0])
    both = either = 0
    for row in written["modules"]:
        one, other = (mask[row["module"]] for mask in masks)
        kept, any_kept = int((one & other).sum()), int((one | other).sum())
        assert (row["both"], row["either"]) == (kept, any_kept)
        assert row["overlap"] == pytest.approx(kept / any_kept)
        shares = [float(mask.float().mean()) for mask in (one, other)]
        chance = shares[0] * shares[1]
        assert row["by chance"] == pytest.approx(chance / (sum(shares) - chance))
        assert [row["sparsity a"], row["sparsity b"]] == pytest.approx([1 - share for share in shares])
        assert row["difference"] == pytest.approx(row["sparsity b"] - row["sparsity a"])
        both, either = both + kept, either + any_kept
    assert f"{both / either:.4f}" in done.stdout

    succeeded(core("compare", a.id, a.id, "--out", tmp_path / "same.csv"))
    with (tmp_path / "same.csv").open(encoding="utf-8", newline="") as file:
        assert {float(row["overlap"]) for row in csv.DictReader(file)} == {1.0}
    succeeded(core("compare", a.id, b.id, "--out", tmp_path / "difference.md"))
    assert "| calibration.seed | 0 | 3 |" in (tmp_path / "difference.md").read_text(encoding="utf-8")


def test_every_part_that_differs_is_told(
    config: Callable[..., RunConfig], store: Store, texts: Texts, tmp_path: Path
) -> None:
    """Two further corpora of one kind, and a text that changed though another part of the evaluation differs as well."""
    own = tmp_path / "own.txt"
    found = []
    for content, windows in (("some words", 3), ("other words", 4)):
        own.write_text(content, encoding="utf-8")
        also = [{"corpus": "text", "path": str(path)} for path in (own, texts["calibration"])]
        wanted = config(evaluation__windows=windows, evaluation__also=also[: windows - 2])
        attempt, _ = store.submit(wanted, identify(wanted))
        found.append(store.run(attempt.run_id))
    different = config_difference(*found).set_index("path")
    assert different.loc["evaluation.windows"].tolist() == [3, 4]
    assert different.loc["evaluation.also.text 2.path"].tolist() == [None, str(texts["calibration"])]
    assert "evaluation.also.text.path" not in different.index

    same = found[1].config.model_copy(update={"method": found[1].config.method, "sparsity": 0.3})
    other = found[1].model_copy(update={"config": same})
    changed = other.model_copy(
        update={"identity": other.identity.model_copy(update={"also_fingerprints": ("another", "text")})}
    )
    different = config_difference(found[1], changed).set_index("path")
    assert different.loc["identity.also_fingerprints", "b"] == ("another", "text")


def test_runs_of_other_models_and_texts_are_compared_as_far_as_that_goes(
    config: Callable[..., RunConfig], store: Store, core: Callable[..., Result], tiny_folder: Folders, tmp_path: Path
) -> None:
    a = run_config(config("magnitude", 0.5), store)[1]
    b = run_config(config("magnitude", 0.5, model=tiny_folder("gpt2"), evaluation__windows=5), store)[1]
    c = run_config(config("wanda", 0.5).model_copy(update={"stages": (LowRank(),)}), store)[1]
    for other in (b, c):
        succeeded(core("compare", a.id, other.id, "--out", tmp_path / f"{other.id}.json"))
    models = json.loads((tmp_path / f"{b.id}.json").read_text(encoding="utf-8"))
    assert models["modules"] == []
    assert {row["figure"]: row["standard error"] for row in models["figures"]}["mean loss (nats)"] == "nan"
    factored = json.loads((tmp_path / f"{c.id}.json").read_text(encoding="utf-8"))["modules"]
    assert {row["overlap"] == "nan" for row in factored if "self_attn" in row["module"]} == {True}
    assert all(0 < row["overlap"] < 1 for row in factored if "mlp" in row["module"])
    assert "stages.low_rank" in (tmp_path / f"{c.id}.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["0123456789abcdef", "x"], "does not exist"),
        (["x"], "1 runs are given"),
        (["x", "y", "z"], "3 runs are given"),
        (["x", "y", "--sparsity", "0.5"], "--sparsity is given beside two runs"),
        (["x", "y", "--model", "embedded"], "--model is given beside two runs"),
    ],
)
def test_runs_that_cannot_be_compared_are_one_sentence(
    core: Callable[..., Result], words: list[str], part: str
) -> None:
    assert part in sentence(core("compare", *words))


def test_a_run_that_has_not_finished_cannot_be_compared(
    config: Callable[..., RunConfig], store: Store, core: Callable[..., Result]
) -> None:
    a = run_config(config("magnitude", 0.5), store)[1]
    waiting, _ = store.submit(config("wanda", 0.5), a.identity)
    assert "has not finished" in sentence(core("compare", a.id, waiting.run_id))


# The store ------------------------------------------------------------------------------------------------------------


def test_how_far_a_sweep_is(config: Callable[..., RunConfig], store: Store) -> None:
    sweep = Sweep.of(config(), sparsity=[0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
    points, left_out = settle(sweep, lambda source: source.profile())
    record = store.sweeps.submit(sweep, points, left_out)
    assert store.sweeps.submit(sweep, points, left_out, "a name").id == record.id
    assert [one.name for one in store.sweeps.all()] == ["a name"]
    ids = [point.run_id for point in points]
    assert store.sweeps.progress(record.id).counts == {"missing": 6}

    run_config(points[0].config, store)  # finished, then cancelled when it was repeated
    again, _ = store.submit_again(ids[0])
    store.end(again.id, "cancelled")
    for number, end in ((1, "failed"), (2, "interrupted")):
        attempt, _ = store.submit(points[number].config, points[number].identity)
        store.start(attempt.id)
        store.end(attempt.id, end, "Because.")  # type: ignore[arg-type]
    running, _ = store.submit(points[3].config, points[3].identity)
    store.start(running.id)
    store.record(running.id, Progress(done=7))
    store.submit(points[4].config, points[4].identity)

    now = store.sweeps.progress(record.id)
    states = ["finished", "failed", "interrupted", "running", "queued", "missing"]
    assert [(point.run_id, point.state) for point in now.points] == list(zip(ids, states, strict=True))
    assert [point.attempts for point in now.points] == [2, 1, 1, 1, 1, 0]
    assert (now.finished, now.active, now.complete) == (1, True, False)
    assert [point.phase_done for point in now.running] == [7]
    assert now.failures == {"Because.": 1}
    assert [point.run_id for point in now.due] == [ids[5], ids[2], ids[1]]  # turns: both ends first, then the middles
    assert [run.id for run in store.sweeps.runs(record.id)] == ids[:5]
    assert store.sweeps.is_finished(ids[0])
    assert not store.sweeps.is_finished(ids[1])

    store.sweeps.cancel(record.id)
    after = store.sweeps.progress(record.id)
    assert [point.state for point in after.points] == [*states[:4], "cancelled", "missing"]
    assert store.should_stop(running.id)
    assert store.attempt(again.id).cancel_requested is False

    assert store.sweeps.is_stopped(record.id)

    store.sweeps.rename(record.id, "another")
    assert store.sweeps.get(record.id).name == "another"
    assert store.sweeps.get(record.id).sweep == sweep
    store.sweeps.delete(record.id)
    with pytest.raises(NotFound):
        store.sweeps.get(record.id)
    assert len(store.runs()) == 5


def test_cancelling_a_sweep_leaves_what_another_one_waits_for(config: Callable[..., RunConfig], store: Store) -> None:
    """Shared points go on until both are cancelled; resuming one needs them again."""
    profile_of = ModelSource.profile
    few, _ = settle(Sweep.of(config(), sparsity=[0.3, 0.4]), profile_of)
    many, _ = settle(Sweep.of(config(), sparsity=[0.3, 0.4, 0.5]), profile_of)
    first = store.sweeps.submit(Sweep.of(config(), sparsity=[0.3, 0.4]), few, [])
    second = store.sweeps.submit(Sweep.of(config(), sparsity=[0.3, 0.4, 0.5]), many, [])

    def begin() -> None:
        store.start(next(attempts_due(first, store, profile_of)).id)
        assert len(list(attempts_due(first, store, profile_of))) == 1
        list(attempts_due(second, store, profile_of))

    def states(record: SweepRecord) -> list[str]:
        return [point.state for point in store.sweeps.progress(record.id).points]

    def stopping() -> list[bool]:
        return [store.should_stop(store.attempts(point.run_id)[-1].id) for point in many]

    begin()
    assert states(second) == ["running", "queued", "queued"]
    store.sweeps.cancel(second.id)
    assert states(second) == ["running", "queued", "cancelled"]
    assert stopping() == [False, False, True]
    store.sweeps.cancel(first.id)
    assert states(second) == ["running", "cancelled", "cancelled"]
    assert stopping() == [True, True, True]

    store.end(store.attempts(many[0].run_id)[-1].id, "cancelled")
    begin()  # takes both up again
    assert states(second) == ["running", "queued", "queued"]
    store.sweeps.delete(second.id)
    store.sweeps.cancel(first.id)
    assert stopping() == [True, True, False]  # the third was never the first sweep's


def test_cancelling_a_sweep_leaves_the_repetition_of_a_finished_point(
    config: Callable[..., RunConfig], store: Store
) -> None:
    sweep = Sweep.of(config(), sparsity=[0.3, 0.4])
    points, _ = settle(sweep, ModelSource.profile)
    record = store.sweeps.submit(sweep, points, [])
    run_config(points[0].config, store)
    again, _ = store.submit_again(points[0].run_id)
    store.sweeps.cancel(record.id)
    assert store.attempt(again.id).status == "queued"


def test_how_far_a_large_sweep_is_takes_one_query(
    config: Callable[..., RunConfig], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import event

    sweep = Sweep.of(config(), calibration__seed=range(40))
    points, _ = settle(sweep, lambda source: source.profile())
    record = store.sweeps.submit(sweep, points, [])
    for point in points:
        store.submit(point.config, point.identity)
    statements: list[str] = []
    event.listen(store._engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    assert store.sweeps.progress(record.id).counts == {"queued": 40}
    assert len(statements) == 1
    assert len(store.sweeps.runs(record.id)) == 40
    assert len(statements) <= 4
