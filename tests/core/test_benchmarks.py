"""The benchmarks' own arithmetic: medians, ratios, lines, limits, shares of time, sections of the report, memory."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from benchmarks.cases import CASES
from benchmarks.memory import peak_above_now
from benchmarks.numbers import Line, Spread, at_least, at_most, ratios
from benchmarks.peers.contests import CONTESTS, NAMES
from benchmarks.peers.driver import Answer, Job
from benchmarks.peers.environments import PEERS
from benchmarks.peers.running import Failed, Place, run
from benchmarks.report import table, write_section
from benchmarks.shares import PARTS, part_of, timed
from core.config import RunConfig
from core.engine import prune_model
from core.events import BlockFinished, BlockStarted, GroupRefined, ModulePruned, Working
from tests.tiny_models import tiny_model


def test_median_and_spread() -> None:
    assert Spread.of([3.0, 1.0, 2.0, 10.0]) == Spread(2.5, 1.0, 10.0, 4)
    assert Spread.of([3.0, 1.0, 2.0]).text() == "2.00 (1.00–3.00)"
    assert Spread.of([2.0]).text(1) == "2.0"


def test_ratios_go_round_by_round() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == [2.0, 3.0]
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


def test_line_worked_by_hand() -> None:
    """Of (1, 1), (2, 3), (3, 2): slope 1/2, through (2, 2); of the variance 2 a half is left three times: 1.5."""
    line = Line.through([1, 2, 3], [1, 3, 2])
    assert (line.slope, line.intercept) == (0.5, 1.0)
    assert line.r2 == pytest.approx(0.25)
    assert Line.through([1, 2], [5, 7]).r2 == 1
    with pytest.raises(ValueError, match="two different"):
        Line.through([2, 2], [1, 3])


def test_limits_are_said() -> None:
    assert at_most(1.05, 1.05) == "1.05: within"
    assert at_most(1.06, 1.05) == "1.05: above"
    assert at_least(2.5, 2.5) == "2.5: reached"
    assert at_least(2.4, 2.5) == "2.5: missed"
    assert at_most(1.0, None) == at_least(1.0, None) == ""


def test_every_event_of_a_real_run_has_its_part() -> None:
    """Each block reads and passes on every batch and prunes every module; the stage's work is its own."""
    config = RunConfig.model_validate({"stages": [{"stage": "barber"}]})
    model, tokens = tiny_model("llama"), torch.randint(0, 64, (3, 16))
    events = [*prune_model(model, config, tokens)]
    found = [part_of(event) for event in events]
    blocks = sum(isinstance(event, BlockStarted) for event in events)
    assert blocks > 1
    assert found.count("statistics") == found.count("propagation") == 3 * blocks
    assert found.count("solve") == sum(isinstance(event, ModulePruned) for event in events) == 7 * blocks
    assert {part for event, part in zip(events, found, strict=True) if isinstance(event, GroupRefined)} == {"stages"}
    assert {part for event, part in zip(events, found, strict=True) if isinstance(event, BlockFinished)} == {"rest"}


def test_parts_add_up_to_the_whole() -> None:
    def events():
        sum(range(300_000))
        yield BlockStarted(block=0, name="b")
        yield Working(text="b: reading batch 1 of 1")
        sum(range(600_000))
        yield Working(text="b: passing on batch 1 of 1")

    seconds, parts = timed(events())
    assert set(parts) == set(PARTS)
    assert sum(parts.values()) == pytest.approx(seconds, rel=0.05)
    assert parts["propagation"] > parts["rest"] > parts["statistics"]


def test_work_that_a_stage_announced_is_the_stages() -> None:
    """Reallocation tells of each slot before it assigns it; without it all is solve."""
    config = RunConfig.model_validate(
        {"method": {"method": "ria"}, "pattern": {"pattern": "nm"}, "stages": [{"stage": "reallocation", "lsa": True}]}
    )
    ticks = iter(range(10**6))
    _, parts = timed(prune_model(tiny_model("llama"), config, torch.randint(0, 64, (1, 16))), lambda: next(ticks))
    assert parts["solve"] == 0
    _, parts = timed(prune_model(tiny_model("llama"), RunConfig(), torch.randint(0, 64, (1, 16))), lambda: next(ticks))
    assert parts["stages"] == 0
    assert parts["solve"] > 0


def test_memory_that_was_freed_again_is_seen() -> None:
    with peak_above_now() as peak:
        torch.ones(2**24).sum()  # 64 MB
    assert 60 < peak.mb < 90
    with peak_above_now(watched=False) as peak:
        torch.ones(2**20)
    assert math.isnan(peak.mb)


def test_sections_are_replaced_in_their_place(tmp_path: Path) -> None:
    file = tmp_path / "performance.md"
    for name, text in [("a", "first"), ("b", r"\1 other"), ("a", "second")]:
        write_section(file, name, text)
    text = file.read_text()
    assert "first" not in text
    assert text.index("second") < text.index(r"\1 other")
    assert table(("x", "y"), [("1", "2")]) == "| x | y |\n| --- | --- |\n| 1 | 2 |"


def test_cases_and_contests_can_be_run() -> None:
    for case in CASES.values():
        assert case.run_config(16, 256).calibration.windows == 16
    assert {peer for contest in CONTESTS.values() for peer in contest.peers} == set(PEERS) == set(NAMES)


def test_pins_name_a_version_and_no_place() -> None:
    for peer in PEERS:
        lines = Path("benchmarks/peers", f"{peer}.txt").read_text().splitlines()
        pins = [line for line in lines if not line.startswith("#")]
        assert "torch==2.13.0" in pins
        assert all(pin.count("==") == 1 and "/" not in pin for pin in pins)


def test_jobs_and_answers_survive_the_file(tmp_path: Path) -> None:
    job, answer = tmp_path / "job.json", tmp_path / "answer.json"
    Job("wanda 50%", "model", "tokens", 4, str(answer)).write(job)
    assert '"batch_size": 4' in job.read_text()
    answer.write_text('{"seconds": 1.5, "peak_mb": 3.0, "versions": {"torch": "2"}, "sparsity": [0.5, 0.5]}')
    assert Answer.read(answer).seconds == 1.5


def test_a_program_that_fails_says_why(tmp_path: Path) -> None:
    place = Place(tmp_path, tmp_path / "no model", 4)
    with pytest.raises(Failed, match="nobody_driver"):
        run(place, None, "nobody", "wanda 50%", None)
