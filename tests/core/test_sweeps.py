"""Sweeps as configs: which points they have, in which order, what is left out, and what is refused."""

import itertools
from typing import Any

import pytest
from pydantic import ValidationError

from core.allocation.alpha_pruning import AlphaPruning
from core.cli.axes import parse_axes
from core.config import RunConfig
from core.errors import InputError, explain
from core.methods.ria import RIA
from core.stages.reallocation import Reallocation
from core.stages.reconstruction import Reconstruction
from core.sweeps import Axis, Sweep
from core.sweeps.sweep import LIMIT, coarse_to_fine


def sweep_of(**axes: Any) -> Sweep:
    return Sweep.of(RunConfig(), **axes)


def titles(sweep: Sweep) -> list[str]:
    return [sweep.words(planned.config) for planned in sweep.planned]


def in_turn(sweep: Sweep) -> list[str]:
    return [sweep.words(planned.config) for planned in sorted(sweep.planned, key=lambda planned: planned.turn)]


# Points ---------------------------------------------------------------------------------------------------------------


def test_the_points_are_all_combinations_in_the_order_of_the_axes() -> None:
    sweep = sweep_of(method=["wanda", "magnitude"], sparsity=[0.3, "2:4"], calibration__seed=[0, 7])
    assert titles(sweep) == [
        "Wanda 30 %, calibration.seed 0",
        "Wanda 30 %, calibration.seed 7",
        "Wanda 2:4 (50 %), calibration.seed 0",
        "Wanda 2:4 (50 %), calibration.seed 7",
        "Magnitude 30 %, calibration.seed 0",
        "Magnitude 30 %, calibration.seed 7",
        "Magnitude 2:4 (50 %), calibration.seed 0",
        "Magnitude 2:4 (50 %), calibration.seed 7",
    ]
    assert sweep.left_out == []
    for planned in sweep.planned:
        assert planned.config == RunConfig.model_validate(planned.config.model_dump())


def test_the_base_keeps_what_no_axis_names() -> None:
    base = RunConfig.model_validate({"sparsity": 0.7, "calibration": {"windows": 3}, "stages": ["barber"]})
    sweep = Sweep.of(base, calibration__seqlen=[64, 128])
    assert [planned.config.calibration.seqlen for planned in sweep.planned] == [64, 128]
    for planned in sweep.planned:
        same = base.calibration.model_copy(update={"seqlen": planned.config.calibration.seqlen})
        assert planned.config == base.model_copy(update={"calibration": same})


def test_what_does_not_go_together_is_left_out_and_told() -> None:
    sweep = sweep_of(method=["sparsegpt", "wanda"], stages=[[], ["reconstruction"]], pattern=["unstructured", "2:4"])
    plain = [f"{method} {shape}" for method in ("SparseGPT", "Wanda") for shape in ("50 %", "2:4 (50 %)")]
    assert titles(sweep) == [*plain, "Wanda 50 % + Reconstruction", "Wanda 2:4 (50 %) + Reconstruction"]
    assert [left.choice for left in sweep.left_out] == [
        {"method": "SparseGPT", "stages": "Reconstruction", "pattern": pattern} for pattern in ("Unstructured", "2:4")
    ]
    assert all("reconstruction does not go with method = sparsegpt" in left.reason for left in sweep.left_out)


def test_a_pattern_that_fixes_its_sparsity_does_not_mind_the_bases() -> None:
    base = RunConfig(sparsity=0.7)
    sweep = Sweep.of(base, pattern=["unstructured", "2:4", "1:4"])
    assert [planned.config.sparsity for planned in sweep.planned] == [0.7, 0.5, 0.75]
    both = Sweep.of(base, pattern=["unstructured", "2:4"], sparsity=[0.5, 0.7])
    assert titles(both) == ["Wanda 50 %", "Wanda 70 %", "Wanda 2:4 (50 %)"]
    assert "contradicts pattern = 2:4" in both.left_out[0].reason


def test_a_parameter_is_an_axis_of_the_components_that_have_it() -> None:
    sweep = sweep_of(allocation=["uniform", "alpha_pruning"], allocation__epsilon=[0.1, 0.2])
    assert [planned.config.allocation for planned in sweep.planned] == [
        AlphaPruning(epsilon=0.1),
        AlphaPruning(epsilon=0.2),
    ]
    assert [left.choice["allocation.epsilon"] for left in sweep.left_out] == ["0.1", "0.2"]


def test_combinations_that_come_to_the_same_run_are_one_point() -> None:
    base = RunConfig.model_validate({"pattern": "2:4"})
    assert len(Sweep.of(base, sparsity=[0.5, "2:4"]).planned) == 1
    assert Axis.of("sparsity", 0.5, "0.5", 0.3, 0.50).values == (0.5, 0.3)
    assert Axis.of("method", "ria", RIA(), {"method": "ria", "power": 0.5}).values == ({"method": "ria", "power": 0.5},)


def test_a_sweep_survives_json_and_reads_the_same_however_it_was_given() -> None:
    given = sweep_of(
        method=["ria"], stages=[[], ["reallocation"]], sparsity=["2:4", "0.50"], evaluation__windows=[0, 9]
    )
    full = sweep_of(
        method=[RIA()], stages=[(), (Reallocation(),)], sparsity=["2:4", 0.5], evaluation__windows=[None, 9]
    )
    assert given == full
    again = Sweep.model_validate_json(given.model_dump_json())
    assert again == given
    assert again.canonical() == given.canonical() == full.canonical()
    assert titles(again) == titles(given)
    other = sweep_of(method=["ria"], stages=[[], ["reallocation"]], sparsity=["2:4", 0.5])
    assert other.canonical() != given.canonical()


# Order ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "order"), [(0, []), (1, [0]), (2, [0, 1]), (3, [0, 2, 1]), (5, [0, 4, 2, 1, 3]), (6, [0, 5, 2, 1, 3, 4])]
)
def test_coarse_to_fine_by_hand(count: int, order: list[int]) -> None:
    assert coarse_to_fine(count) == order


def test_a_curve_shows_its_course_early() -> None:
    """All methods at both ends, then in the middle; other seeds only when every point was there once."""
    sweep = sweep_of(calibration__seed=[3, 1], method=["wanda", "ria"], sparsity=[0.5, "2:4", 0.3, 0.7])
    once = [f"{method} {shape}" for shape in ("30 %", "70 %", "50 %", "2:4 (50 %)") for method in ("Wanda", "RIA")]
    assert in_turn(sweep) == [f"{point}, calibration.seed {seed}" for seed in (3, 1) for point in once]


# What is refused ------------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no axis": ({}, ["needs an axis"]),
    "no values": ({"method": []}, ["axis method", "no values"]),
    "an unknown part": ({"sparseness": [1]}, ["axis sparseness", "calibration.seed", "allocation.epsilon"]),
    "a section as a whole": ({"calibration": [1]}, ["axis calibration is no part", "calibration.windows"]),
    "an unknown field": ({"calibration__sed": [1]}, ["axis calibration.sed", "calibration.seed"]),
    "a parameter nobody has": ({"allocation__alpha": [1]}, ["allocation.alpha", "no allocation has"]),
    "below a parameter": ({"method__power__x": [1]}, ["axis method.power.x is no part"]),
    "an unknown method": ({"method": ["wnda"]}, ["axis method", "Did you mean 'wanda'"]),
    "no number": ({"sparsity": ["half"]}, ["axis sparsity", "'half'"]),
    "no pattern": ({"sparsity": ["4:2"]}, ["axis sparsity", "4:2"]),
    "out of bounds": ({"calibration__windows": [4, 0]}, ["axis calibration.windows", "windows = 0"]),
    "patterns twice": ({"sparsity": ["2:4"], "pattern": ["4:8"]}, ["axis sparsity = '2:4'", "axis pattern"]),
    "too many": ({"calibration__seed": range(LIMIT + 1)}, ["2,001 combinations", "2,000"]),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_a_sweep_is_one_sentence(kind: str) -> None:
    axes, words = REFUSED[kind]
    with pytest.raises((ValidationError, InputError)) as caught:
        sweep_of(**axes)
    message = explain(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_an_axis_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="axis sparsity is given twice"):
        Sweep(axes=(Axis.of("sparsity", 0.3), Axis.of("sparsity", 0.4)))


def test_the_limit_can_be_reached() -> None:
    assert len(sweep_of(calibration__seed=range(200), sparsity=[n / 11 for n in range(1, 11)]).planned) == LIMIT


# As text --------------------------------------------------------------------------------------------------------------


def test_axes_as_text() -> None:
    texts = [
        "method=wanda, ria:power=0.3",
        "method=ria:power=0.7",
        "allocation=uniform,alpha_pruning:metric=stable_rank,epsilon=0.2,owl",
        "stages=none,lsa+reconstruction,barber:threshold=0.02",
        "sparsity=0.3,2:4",
        "calibration.seed=0,1",
        'calibration.corpus=["embedded", {"corpus": "text", "path": "a,b.txt"}]',
        "allocation.epsilon=0.1",
    ]
    lsa = [Reallocation(lsa=True), Reconstruction()]
    assert parse_axes(texts) == (
        Axis.of("method", "wanda", RIA(power=0.3), RIA(power=0.7)),
        Axis.of("allocation", "uniform", AlphaPruning(metric="stable_rank", epsilon=0.2), "owl"),
        Axis.of("stages", [], lsa, [{"stage": "barber", "threshold": 0.02}]),
        Axis.of("sparsity", 0.3, "2:4"),
        Axis.of("calibration.seed", 0, 1),
        Axis.of("calibration.corpus", "embedded", {"corpus": "text", "path": "a,b.txt"}),
        Axis.of("allocation.epsilon", 0.1),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("method", "has no values"),
        ("=1", "has no values"),
        ("method=", "no values"),
        ("method=[wanda", "not a list in JSON"),
        ("method=wnda:power=1", "Did you mean 'wanda'"),
        ("method=ria:pwer=1", "pwer is not a known parameter"),
        ("stages=lsa+nothing", "Unknown stage 'nothing'"),
    ],
)
def test_axes_that_cannot_be_read_are_one_sentence(text: str, words: str) -> None:
    with pytest.raises((ValidationError, InputError)) as caught:
        parse_axes([text])
    assert words in explain(caught.value)
    assert "\n" not in explain(caught.value)


def test_every_part_of_a_config_can_be_an_axis() -> None:
    """Whatever is added to a config: its default as the only value gives the config again."""
    base = RunConfig()
    sections = [name for name in RunConfig.model_fields if name in ("calibration", "evaluation")]
    inner = [f"{name}.{field}" for name in sections for field in type(getattr(base, name)).model_fields]
    paths = [name for name in RunConfig.model_fields if name not in sections] + inner
    for path in paths:
        value: Any = base
        for name in path.split("."):
            value = getattr(value, name)
        sweep = Sweep(base=base, axes=(Axis.of(path, value),))
        assert [planned.config for planned in sweep.planned] == [base], path
    assert len(paths) > len(list(itertools.chain(sections)))
