"""Tables of runs: one row a run, seeds taken together, the points of curves, and what a person reads."""

import math
import statistics
from typing import Any

import pytest

from core.api import make_config
from core.config import Identity
from core.errors import InputError
from core.evaluation.result import Perplexity
from core.store import Attempt, Run, RunResult
from core.sweeps.table import curve, markdown, measured_on, over_seeds, plain_records, sweep_table

IDENTITY = Identity(model_revision="r1", calibration_fingerprint="c1", evaluation_fingerprint="e1", versions=(1, 1, 1))


def run_of(perplexity: float | None, identity: Identity = IDENTITY, error: float | None = 0.5, **config: Any) -> Run:
    """A run with this perplexity; None where it has not finished."""
    made = make_config(**{"model": "./nowhere", "sparsity": 0.5, **config})
    result = None
    if perplexity is not None:
        result = RunResult(
            dense_perplexity=Perplexity(value=8.0, standard_error=0.25, seqlen=32, losses=(2.0, 2.2)),
            perplexity=Perplexity(value=perplexity, standard_error=error, seqlen=32, losses=(2.5, 3.5)),
            target_sparsity=made.sparsity,
            pruned=30,
            parameters=60,
            dense_bytes=240,
            bitmask_bytes=130,
            figures={"mean_error": 0.25, "retained_plain": 1.0, "retained_reallocated": 2.0},
            evaluated_on="a text, 2 × 32 tokens",
            calibrated_on="another, 4 × 32 tokens",
            prune_seconds=1.5,
            seconds=2.5,
        )
    attempt = Attempt(
        id=1,
        run_id=identity.run_id(made),
        number=1,
        status="finished",
        message="",
        submitted_at=0,
        started_at=0,
        finished_at=0,
        phase="",
        phase_done=0,
        phase_total=0,
        cancel_requested=False,
    )
    return Run(
        id=identity.run_id(made),
        name=made.title,
        config=made,
        identity=identity,
        created_at=0,
        result=result,
        weights_bytes=0,
        attempt=attempt,
    )


def seeded(perplexities: list[float], **config: Any) -> list[Run]:
    return [run_of(value, calibration={"seed": seed}, **config) for seed, value in enumerate(perplexities)]


def test_one_row_a_finished_run() -> None:
    runs = [
        run_of(12.0, method="ria", sparsity="2:4", stages=["reallocation"], calibration={"windows": 3, "seed": 9}),
        run_of(None),
        run_of(10.0, sparsity=1 / 3, allocation="owl", error=None),
    ]
    table = sweep_table(runs, ["method", "calibration.windows", "allocation.threshold", "calibration.seed"])
    wanted = {
        "model": ["nowhere", "nowhere"],
        "sparsity": ["2:4", "33.33%"],
        "pattern": ["2:4", "Unstructured"],
        "target": [0.5, 1 / 3],
        "method": ["RIA", "Wanda"],
        "allocation": ["Uniform", "OWL"],
        "stages": ["Channel reallocation", "–"],
        "calibration windows": [3, 16],
        "seed": [9, 0],
        "perplexity": [12.0, 10.0],
        "dense perplexity": [8.0, 8.0],
        "achieved": [0.5, 0.5],
        "mean error": [0.25, 0.25],
        "pruning seconds": [1.5, 1.5],
        "seconds": [2.5, 2.5],
        "run": [runs[0].id, runs[2].id],
    }
    assert {name: table[name].tolist() for name in wanted} == wanted
    assert table["standard error"].tolist()[0] == 0.5
    assert math.isnan(table["standard error"].tolist()[1])
    assert math.isnan(table["allocation threshold"].tolist()[0])
    assert table["allocation threshold"].tolist()[1] == 5.0
    assert len(sweep_table([run_of(None)])) == 0


def test_seeds_are_taken_together_by_hand() -> None:
    """10, 12, 14: mean 12, standard deviation 2."""
    runs = [*seeded([10.0, 12.0, 14.0]), run_of(20.0, sparsity=0.7), *seeded([5.0, 6.0], method="ria")]
    points = over_seeds(sweep_table([*runs, runs[0]]))  # the first one is a point of two sweeps
    assert points["perplexity"].tolist() == [12.0, 20.0, 5.5]
    assert points["seeds"].tolist() == [3, 1, 2]
    assert points["minimum"].tolist() == [10.0, 20.0, 5.0]
    assert points["maximum"].tolist() == [14.0, 20.0, 6.0]
    assert points["standard deviation"].tolist()[::2] == pytest.approx([2.0, statistics.stdev([5.0, 6.0])])
    assert math.isnan(points["standard deviation"].tolist()[1])
    assert points["standard error"].tolist() == [0.5, 0.5, 0.5]
    assert points["retained score"].tolist() == ["", "1 → 2", ""]
    assert points["runs"].tolist()[0] == tuple(run.id for run in runs[:3])


def test_runs_that_differ_in_anything_but_the_seed_stay_apart() -> None:
    changed = IDENTITY.model_copy(update={"calibration_fingerprint": "c2"})
    runs = [
        run_of(10.0),
        run_of(11.0, identity=changed),
        run_of(12.0, calibration={"windows": 3}),
        run_of(13.0, evaluation={"windows": 3}),
    ]
    assert over_seeds(sweep_table(runs))["seeds"].tolist() == [1, 1, 1, 1]


def test_an_infinite_perplexity_stays_infinite() -> None:
    points = over_seeds(sweep_table(seeded([10.0, math.inf])))
    assert points["perplexity"].tolist() == [math.inf]
    assert math.isnan(points["standard deviation"].tolist()[0])
    assert plain_records(points)[0]["perplexity"] == "inf"


def test_a_curve_by_hand() -> None:
    runs = [
        *seeded([30.0, 34.0], sparsity=0.7),
        *seeded([10.0, 12.0], sparsity=0.3),
        run_of(99.0, sparsity=0.7, method="magnitude"),
    ]
    lines = curve(sweep_table(runs))
    shown = [(row.method, row.target, row.perplexity, row.seeds) for row in lines.itertuples()]
    assert shown == [("Magnitude", 0.7, 99.0, 1), ("Wanda", 0.3, 11.0, 2), ("Wanda", 0.7, 32.0, 2)]


def test_a_curve_over_a_parameter() -> None:
    runs = [
        run_of(value, allocation={"allocation": "owl", "threshold": m})
        for m, value in ((7.0, 3.0), (3.0, 2.0), (5.0, 1.0))
    ]
    table = sweep_table([*runs, run_of(4.0)], ["allocation.threshold"])
    lines = curve(table, x="allocation threshold")
    assert lines[["allocation threshold", "perplexity"]].to_numpy().tolist() == [[3.0, 2.0], [5.0, 1.0], [7.0, 3.0]]


def test_a_curve_never_averages_over_more_than_seeds() -> None:
    runs = [run_of(10.0), run_of(11.0, allocation="owl"), run_of(12.0, sparsity="2:4")]
    with pytest.raises(InputError, match="differ in sparsity, pattern, allocation"):
        curve(sweep_table(runs))
    lines = curve(sweep_table(runs), line=("method", "pattern", "allocation"))
    assert len(lines) == 3
    with pytest.raises(InputError, match="what no column tells"):
        curve(sweep_table([run_of(10.0), run_of(11.0, calibration={"windows": 3})]))
    assert len(curve(sweep_table([]))) == 0


def test_markdown_by_hand() -> None:
    runs = [*seeded([10.0, 12.0]), run_of(7.125, sparsity="2:4", error=None), run_of(9.0, allocation="owl")]
    table = sweep_table(runs, ["sparsity", "calibration.seed"])
    assert markdown(table, ["sparsity", "calibration.seed"], ["achieved", "mean error"]).splitlines() == [
        "| sparsity | method | allocation | perplexity | achieved | mean error |",
        "| --- | --- | --- | --- | --- | --- |",
        "| 50% | Wanda | Uniform | 11.00 ± 1.41 (2 seeds) | 50.0000% | 0.2500 |",
        "| 2:4 | Wanda | Uniform | 7.12 | 50.0000% | 0.2500 |",
        "| 50% | Wanda | OWL | 9.00 ± 0.50 | 50.0000% | 0.2500 |",
    ]
    pattern = run_of(9.0, pattern={"pattern": "unstructured", "group": "input"}, calibration={"windows": 3})
    axes = ["calibration.windows", "stages"]
    assert markdown(sweep_table([pattern], axes), axes, []).splitlines() == [
        "| sparsity | pattern | method | stages | calibration windows | perplexity |",
        "| --- | --- | --- | --- | --- | --- |",
        "| 50% | Unstructured (group input) | Wanda | – | 3 | 9.00 ± 0.50 |",
    ]


def test_what_it_was_measured_on_is_said_once() -> None:
    assert measured_on([run_of(9.0), run_of(None), run_of(10.0, sparsity=0.3)]) == (
        "nowhere: dense perplexity 8.00 ± 0.25; measured on a text, 2 × 32 tokens, calibrated on another, 4 × 32 tokens."
    )
