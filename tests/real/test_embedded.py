"""The embedded model, pruned for real by the command line; measured on fewer windows than by default, for the time it takes."""

import json
import math
import time

import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.cli.commands import main
from core.config import RunConfig
from core.data.windows import evaluation_windows, tokenize
from core.engine import prune_model
from core.events import ModuleRefined
from core.execution import calibration_tokens
from core.methods.ria import RIA
from core.patterns import NM
from core.stages.barber import Barber
from core.stages.low_rank import LowRank
from core.stages.reallocation import Reallocation
from core.stages.reconstruction import Reconstruction
from core.store import Store
from core.store.artifacts import read_masks

pytestmark = pytest.mark.real

WINDOWS = 6
RUNS = {
    "magnitude": ["--method", "magnitude", "--sparsity", "0.5"],
    "wanda": ["--method", "wanda", "--sparsity", "0.5"],
    "wanda 2:4": ["--method", "wanda", "--sparsity", "2:4", "--calibration-windows", "4"],
    "sparsegpt": ["--method", "sparsegpt", "--sparsity", "0.5"],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def results(home) -> dict[str, dict]:
    """What ``--json`` wrote for each run; SparseGPT's model is saved besides."""
    reports = {}
    for name, options in RUNS.items():
        report = home / f"{name.replace(':', '-')}.json"
        save = ["--save", str(home / "saved")] if name == "sparsegpt" else []
        command = ["--home", str(home), "prune", "--evaluation-windows", str(WINDOWS), "--json", str(report)]
        outcome = CliRunner().invoke(main, [*command, *options, *save], catch_exceptions=False)
        assert outcome.exit_code == 0, outcome.output
        reports[name] = json.loads(report.read_text())
        print(f"{name}: {reports[name]['perplexity']:.2f} (dense {reports[name]['dense_perplexity']:.2f})")
    return reports


def masks(home, results, name):
    return read_masks(home / "artifacts" / results[name]["run_id"])


def test_updates_beat_activations_beat_magnitudes(results):
    perplexity = {name: result["perplexity"] for name, result in results.items()}
    assert (
        results["wanda"]["dense_perplexity"] < perplexity["sparsegpt"] < perplexity["wanda"] < perplexity["magnitude"]
    )
    assert perplexity["wanda"] < perplexity["wanda 2:4"]


def test_the_dense_perplexity_is_the_plain_loops(results):
    model = RunConfig().model.load()
    windows = evaluation_windows(tokenize(RunConfig().evaluation.corpus, "evaluation", model.tokenizer), WINDOWS, 256)
    losses = []
    with torch.no_grad():
        for window in windows:
            logs = model.model(input_ids=window[None]).logits[0].double().log_softmax(-1)
            losses.append(-sum(logs[t, window[t + 1]].item() for t in range(255)) / 255)
    expected = math.exp(sum(losses) / len(losses))
    assert results["wanda"]["dense_perplexity"] == pytest.approx(expected, rel=1e-5)


def test_every_comparison_group_has_its_exact_count(home, results):
    for keep in masks(home, results, "magnitude").values():
        assert (~keep).sum() == int(keep.numel() * 0.5)
    for keep in masks(home, results, "wanda").values():
        assert ((~keep).sum(dim=1) == int(keep.shape[1] * 0.5)).all()
    for keep in masks(home, results, "wanda 2:4").values():
        assert (keep.reshape(-1, 4).sum(dim=1) == 2).all()
    for keep in masks(home, results, "sparsegpt").values():
        for block in keep.split(128, dim=1):
            assert (~block).sum() == int(block.numel() * 0.5)


def test_the_counts_come_from_masks_not_from_zeros(results):
    """The dense weights hold 33,483 exact zeros; they count as pruned only where the mask prunes them."""
    for result in results.values():
        assert result["sparsity"] == result["target_sparsity"] == 0.5
        assert len(result["modules"]) == 210


def test_the_saved_model_has_the_reported_perplexity(home, results):
    model = AutoModelForCausalLM.from_pretrained(home / "saved").eval()
    tokenizer = AutoTokenizer.from_pretrained(home / "saved")
    windows = evaluation_windows(tokenize(RunConfig().evaluation.corpus, "evaluation", tokenizer), WINDOWS, 256)
    with torch.no_grad():
        losses = [model(input_ids=window[None], labels=window[None]).loss.item() for window in windows]
    assert math.exp(sum(losses) / len(losses)) == pytest.approx(results["sparsegpt"]["perplexity"], rel=1e-5)


def test_a_reopened_run_is_the_saved_model(home, results, monkeypatch):
    from core.reopening import reopen

    monkeypatch.setenv("PRUNESCOPE_HOME", str(home))
    saved = AutoModelForCausalLM.from_pretrained(home / "saved").state_dict()
    reopened = reopen(results["sparsegpt"]["run_id"], Store.open()).model.state_dict()
    assert all(torch.equal(saved[name], reopened[name]) for name in saved)


def test_every_stage_tells_what_it_does_all_the_time():
    """The promise is an event a second, at which a run can be cancelled; here with room for a busy machine."""
    config = RunConfig(
        method=RIA(),
        pattern=NM(),
        stages=(Reallocation(lsa=True), Reconstruction(), Barber(keep_reconstruction=True), LowRank()),
    )
    model, tokens = config.model.load().model, calibration_tokens(config, config.model)
    steps, gaps = prune_model(model, config, tokens), []
    while True:
        started = time.perf_counter()
        event = next(steps)
        gaps.append(time.perf_counter() - started)
        if isinstance(event, ModuleRefined) and event.stage == "low_rank":
            break
    print(f"longest silence of {len(gaps)} events: {max(gaps):.2f} s")
    assert max(gaps) < 3
    started = time.perf_counter()
    steps.close()
    assert time.perf_counter() - started < 1
    figures = event.report
    assert figures["retained_plain"] < figures["retained_reallocated"] < figures["retained_lsa_4"]
    assert 0 < figures["energy"] < 1
