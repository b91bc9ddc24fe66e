"""The estimate before a run: it goes the right way, and earlier runs put it right."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core import estimate as module
from core.api import make_config
from core.config import Identity, RunConfig
from core.data import TextFile
from core.estimate import Estimate, estimate, known_speed, measure_speed, stored_speed
from core.evaluation.result import perplexity
from core.models.sources import LocalFolder
from core.profile import ModelProfile, ModuleInfo
from core.store import Attempt, Run, RunResult, Store

SPEED = 1e9
PROFILE = ModelProfile(
    architecture="Made up",
    parameters=5_000_000,
    max_seqlen=2048,
    vocabulary=1000,
    hidden_size=256,
    itemsize=4,
    modules=tuple(
        ModuleInfo(name=f"layers.{block}.{label}", block=block, label=label, shape=shape)
        for block in range(4)
        for label, shape in (("attention", (256, 256)), ("up", (1024, 256)), ("down", (256, 1024)))
    ),
)


def config(
    method: str = "wanda", sparsity: Any = 0.5, calibration: int = 16, evaluation: int = 40, **more: Any
) -> RunConfig:
    parts: dict[str, Any] = {
        "calibration": {"windows": calibration, "seqlen": 256, "batch_size": more.pop("batch_size", 4)},
        "evaluation": {"windows": evaluation, "seqlen": 256, "batch_size": more.pop("evaluation_batch_size", 4)},
    }
    allocation = more.pop("allocation", None)
    model = LocalFolder(path="/nowhere", **more)
    return make_config(model, method=method, sparsity=sparsity, allocation=allocation, **parts)


def of(
    chosen: RunConfig, history: list[Run] | None = None, dense_known: bool = False, speed: float = SPEED
) -> Estimate:
    return estimate(chosen, PROFILE, speed, history or [], dense_known)


def run_of(chosen: RunConfig, prune_seconds: float, result: bool = True) -> Run:
    measured = RunResult(
        dense_perplexity=perplexity([2.0], 256),
        perplexity=perplexity([3.0], 256),
        target_sparsity=0.5,
        pruned=1,
        parameters=2,
        dense_bytes=8,
        bitmask_bytes=5,
        evaluated_on="a text",
        calibrated_on="a text",
        prune_seconds=prune_seconds,
        seconds=prune_seconds + 1,
    )
    attempt = Attempt(
        id=1,
        run_id="r",
        number=1,
        status="finished",
        message="",
        submitted_at=0,
        started_at=0,
        finished_at=1,
        phase="Saving",
        phase_done=0,
        phase_total=0,
        cancel_requested=False,
    )
    identity = Identity(model_revision="", calibration_fingerprint="", evaluation_fingerprint="", versions=(1, 1, 1))
    return Run(
        id="r",
        name="r",
        config=chosen,
        identity=identity,
        created_at=0,
        result=measured if result else None,
        weights_bytes=0,
        attempt=attempt,
    )


def test_more_windows_take_longer() -> None:
    base, calibrated, evaluated = of(config()), of(config(calibration=32)), of(config(evaluation=80))
    assert calibrated.prune_seconds > 1.5 * base.prune_seconds
    assert (calibrated.dense_seconds, calibrated.pruned_seconds) == (base.dense_seconds, base.pruned_seconds)
    assert evaluated.dense_seconds == pytest.approx(2 * base.dense_seconds)
    assert evaluated.pruned_seconds == pytest.approx(2 * base.pruned_seconds)
    assert evaluated.prune_seconds == base.prune_seconds
    assert base.seconds == base.dense_seconds + base.prune_seconds + base.pruned_seconds
    assert 0 < base.seconds < calibrated.seconds


def test_methods_cost_what_they_need() -> None:
    magnitude, wanda, sparsegpt = (of(config(method)) for method in ("magnitude", "wanda", "sparsegpt"))
    assert magnitude.prune_seconds < wanda.prune_seconds < sparsegpt.prune_seconds
    assert magnitude.pruned_seconds == wanda.pruned_seconds == sparsegpt.pruned_seconds
    more = of(config("magnitude", calibration=160))
    assert more.prune_seconds == magnitude.prune_seconds  # 256 tokens, whatever the windows


def test_a_known_dense_perplexity_costs_nothing() -> None:
    known, unknown = of(config(), dense_known=True), of(config())
    assert known.dense_seconds == 0
    assert (known.prune_seconds, known.pruned_seconds) == (unknown.prune_seconds, unknown.pruned_seconds)
    assert known.seconds == unknown.seconds - unknown.dense_seconds


def test_a_faster_machine_takes_less_time_and_no_less_memory() -> None:
    slow, fast = of(config()), of(config(), speed=10 * SPEED)
    assert fast.seconds == pytest.approx(slow.seconds / 10)
    assert fast.memory == slow.memory


@pytest.mark.parametrize("actual", [0.1, 10.0])
@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
def test_history_puts_the_times_right(method: str, actual: float) -> None:
    """A run that took twice the time predicted doubles the next prediction, whatever its windows."""
    first = of(config(method))
    assert first.from_runs == 0
    run = run_of(config(method), prune_seconds=actual * first.prune_seconds)
    again = of(config(method), [run])
    assert again.from_runs == 1
    assert again.prune_seconds == pytest.approx(actual * first.prune_seconds)
    other = config(method, calibration=64)
    assert of(other, [run]).prune_seconds == pytest.approx(actual * of(other).prune_seconds)


def test_only_comparable_history_counts() -> None:
    plain = of(config())
    others = [
        run_of(config("sparsegpt"), 1e6),
        run_of(config(sparsity="2:4"), 1e6),
        run_of(config(dtype="bfloat16"), 1e6),
        run_of(config(), 1e6, result=False),
    ]
    assert of(config(), others) == plain


def test_the_five_latest_runs_decide_and_one_that_was_held_up_does_not() -> None:
    seconds = of(config()).prune_seconds
    latest = [run_of(config(), factor * seconds) for factor in (2, 2, 100, 2, 2)]
    old = [run_of(config(), 50 * seconds)] * 20
    corrected = of(config(), [*latest, *old])
    assert corrected.prune_seconds == pytest.approx(2 * seconds)
    assert corrected.from_runs == 5


def test_memory_grows_with_what_is_held() -> None:
    base = of(config()).memory
    assert base > PROFILE.parameters * 4
    assert of(config(calibration=160)).memory > base
    assert of(config(evaluation_batch_size=64)).memory > base
    assert of(config("sparsegpt")).memory > base
    assert of(config(dtype="bfloat16")).memory < base


def test_every_further_corpus_takes_as_long() -> None:
    base = config()
    also = base.model_copy(
        update={"evaluation": base.evaluation.model_copy(update={"also": (TextFile(path="a"),) * 2})}
    )
    one, three = of(base), of(also)
    assert three.dense_seconds == pytest.approx(3 * one.dense_seconds)
    assert three.pruned_seconds == pytest.approx(3 * one.pruned_seconds)
    assert (three.prune_seconds, three.memory) == (one.prune_seconds, one.memory)


def test_logits_take_bounded_memory() -> None:
    small, large, huge = (of(config(evaluation_batch_size=size)).memory for size in (64, 512, 1024))
    assert small < large == huge


def test_all_of_the_text_is_estimated_too() -> None:
    everything = config().model_copy(update={"evaluation": config().evaluation.model_copy(update={"windows": None})})
    assert of(everything).dense_seconds > of(config()).dense_seconds


def test_a_real_profile_is_estimated(tiny_folder: Callable[..., Path]) -> None:
    profile = LocalFolder(path=str(tiny_folder())).profile()
    assert profile.prunable == 18432
    result = estimate(config(), profile, 1e10, [], False)
    assert 0 < result.seconds < 60
    assert result.memory > profile.parameters * 4


def test_the_speed_is_measured_once_a_machine(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stored_speed(store) is None
    measured: list[float] = []

    def measure() -> float:
        measured.append(measure_speed(size=64, repeats=2))
        return measured[-1]

    monkeypatch.setattr(module, "measure_speed", measure)
    speed = known_speed(store)
    assert speed > 0
    assert known_speed(store) == speed == stored_speed(store)
    assert measured == [speed]
    monkeypatch.setattr("core.estimate.socket.gethostname", lambda: "another-machine")
    assert stored_speed(store) is None


@pytest.mark.parametrize("allocation", ["alpha_pruning", "owl", "sensitivity"])
def test_an_allocation_costs_until_it_is_measured(allocation: str) -> None:
    plain, wanted = config(), config(allocation=allocation)
    assert of(plain).measure_seconds == 0
    assert of(wanted).measure_seconds > 0
    assert of(wanted).seconds == pytest.approx(of(plain).seconds + of(wanted).measure_seconds)
    known = estimate(wanted, PROFILE, SPEED, [], False, measured=True)
    assert known.seconds == pytest.approx(of(plain).seconds)


def test_sensitivity_by_the_loss_grows_with_the_blocks_by_the_error_it_does_not() -> None:
    loss = of(config(allocation="sensitivity")).measure_seconds
    error = of(config(allocation={"allocation": "sensitivity", "cost": "error"})).measure_seconds
    assert loss > error * PROFILE.blocks / 4
