"""The Spectra page and its allocation studio: unknown, known, broken matrices, and the way to the Prune page."""

import numpy as np
import pandas as pd
import pytest
import torch

from core.config import Calibration, Evaluation, RunConfig, identify
from core.measurements.allocation import AllocationBasis
from core.measurements.spectra import Spectra
from core.models.sources import Embedded
from core.profile import ModelProfile
from core.spectra import METRICS, eigenvalues
from core.spectra.hill import FITS
from core.spectra.table import all_figures
from dashboard.components import plan
from dashboard.components.charts.spectra import Spectrum, esd, panels
from tests.pages.conftest import PROFILE, add_run, open_app

PAGE = "dashboard/spectra.py"
DENSE = Spectra(model=Embedded(), revision=Embedded().revision_key())


def weight_of(block: int, label: str) -> torch.Tensor:
    """Heavier tails in later blocks; one matrix of zeros, one of a single value."""
    if (block, label) == (0, "mlp.down_proj"):
        return torch.zeros(64, 64)
    if (block, label) == (1, "mlp.down_proj"):
        return torch.eye(64)
    noise = torch.randn(64, 96, generator=torch.Generator().manual_seed(block))
    return noise * torch.arange(1, 65)[:, None].float().pow(-0.2 * block)


def fitted(values: torch.Tensor, rows: int, columns: int) -> dict[str, dict]:
    figures = all_figures(values, rows, columns)
    return {fit: {"rows": rows, "columns": columns, **row} for fit, row in figures.items()}


def keep(store, spectra: Spectra, scale: float = 1.0) -> None:
    rows, found = [], {}
    for module in ModelProfile.model_validate(PROFILE).modules:
        weight = scale * weight_of(module.block, module.label)
        values = eigenvalues(weight)
        found[module.name] = values.numpy()
        rows += [
            {
                "module": module.name,
                "block": module.block,
                "label": module.label,
                "fit": fit,
                "rand_distance": 0.1,
                **row,
            }
            for fit, row in fitted(values, *weight.shape).items()
        ]
    attempt, _ = store.submit_measurement(spectra)
    store.keep_spectra(spectra.id, found, pd.DataFrame(rows))
    store.end(attempt.id, "finished")


@pytest.fixture
def spectra(store) -> None:
    keep(store, DENSE)


def texts(app) -> str:
    return " ".join(
        str(element.value) for kind in ("caption", "markdown", "info", "error") for element in app.get(kind)
    )


def button(app, label: str):
    return next(button for button in app.button if button.label == label)


def test_unknown_spectra_are_offered_and_their_progress_shown(store, measured):
    app = open_app(PAGE)
    button(app, "Compute the spectra").click().run()
    assert not app.exception
    assert measured == [DENSE]
    assert any("It waits for the run that is under way" in info.value for info in app.info)
    attempt = store.active()[0]
    assert store.start(attempt.id)
    store.end(attempt.id, "failed", "The disk is full.")
    app.run()
    assert [error.value for error in app.error] == ["The disk is full."]
    button(app, "Compute the spectra")


def test_a_run_that_waits_behind_a_measurement_says_so(store):
    store.start(store.submit_measurement(DENSE)[0].id)
    attempt, _ = store.submit(RunConfig(), identify(RunConfig()))
    app = open_app(None, run=attempt.run_id)
    assert any("Waiting for Spectra: SmolLM2-135M-Instruct to end" in info.value for info in app.info)


def test_every_metric_and_fit_is_drawn(store, spectra):
    app = open_app(PAGE, block="2", module="mlp.down_proj")
    for metric in METRICS:
        app.selectbox(key="metric").set_value(metric).run()
        assert not app.exception, metric
    for fit in FITS:
        app.selectbox(key="fit").set_value(fit).run()
        assert not app.exception, fit
    assert "alpha" in texts(app)
    assert "standard error" in texts(app)


def test_the_random_distance_comes_from_the_shuffled_spectra(store, spectra, measured):
    app = open_app(PAGE, metric="rand_distance")
    button(app, "Compute the shuffled spectra").click().run()
    assert measured == [DENSE.shuffled]
    store.end(store.active()[0].id, "cancelled")
    keep(store, DENSE.shuffled)
    app = open_app(PAGE, metric="rand_distance")
    assert not app.exception
    assert "Jensen" in texts(app)
    assert "The lower, the more pruning" in texts(app)


@pytest.mark.parametrize(
    ("block", "note"), [("0", "The matrix is zero"), ("1", "A tail needs at least two different eigenvalues")]
)
def test_what_has_no_spectrum_gets_a_note(store, spectra, block, note):
    app = open_app(PAGE, block=block, module="mlp.down_proj")
    shown = texts(app)
    assert note in shown
    assert "nan" not in shown.lower()


def test_before_and_after_pruning(store, spectra, measured):
    run = add_run(store)
    keep(store, Spectra(model=run.config.model, revision="r"))
    app = open_app(PAGE, run=run.id, block="2", module="mlp.down_proj")
    assert "Pruned:" not in texts(app)
    app.segmented_control(key="weights").set_value("pruned").run()
    button(app, "Compute the pruned spectra").click().run()
    assert measured == [Spectra.of_run(run)]
    store.end(store.active()[0].id, "finished")
    keep(store, Spectra.of_run(run), scale=0.5)
    for view in ("pruned", "change"):
        app.segmented_control(key="weights").set_value(view).run()
        assert not app.exception
        assert "Pruned:" in texts(app)
    assert "Shown is the value after pruning less the dense one" in texts(app)


def test_other_laws_and_shuffled_entries_on_request(store, spectra, measured):
    app = open_app(PAGE, block="2", module="self_attn.q_proj")
    app.toggle(key="laws").set_value(True).run()
    assert not app.exception
    table = app.dataframe[0].value
    assert list(table.against) == ["lognormal", "exponential", "truncated power law"]
    app.toggle(key="shuffled").set_value(True).run()
    button(app, "Compute the shuffled spectra").click().run()
    assert measured == [DENSE.model_copy(update={"randomised": True})]


def test_the_slider_moves_the_allocation(store, spectra):
    app = open_app(PAGE)
    before = next(c.value for c in app.caption if c.value.startswith("Blocks' sparsity"))
    assert "Uniform from 70.0% to 70.0%" in before
    assert "AlphaPruning from" in before
    app.slider(key="studio_alpha_pruning_epsilon").set_value(0.0).run()
    after = next(c.value for c in app.caption if c.value.startswith("Blocks' sparsity"))
    assert "AlphaPruning from 70.0% to 70.0%" in after


def test_whole_numbers_are_eighths(store, spectra):
    app = open_app(PAGE)
    app.toggle(key="studio_mixed").set_value(True).run()
    assert not app.exception
    shown = next(c.value for c in app.caption if c.value.startswith("Blocks' sparsity"))
    assert "AlphaPruning" in shown
    assert "0.75" in shown


def test_what_an_allocation_rests_on_is_offered_to_be_measured(store, spectra, measured):
    app = open_app(PAGE)
    app.multiselect(key="studio").set_value(["owl"]).run()
    button(app, "Measure for OWL").click().run()
    assert [type(asked) for asked in measured] == [AllocationBasis]
    assert measured[0].config.allocation.name == "owl"


CONFIGS = [
    RunConfig(),
    RunConfig(method="sparsegpt", pattern="2:4", stages=({"stage": "low_rank", "rank_ratio": 0.5},)),
    RunConfig(allocation={"allocation": "alpha_pruning", "epsilon": 0.12, "per": "module"}, sparsity=0.65),
    RunConfig(
        pattern="N:8", allocation={"allocation": "manual", "values": {"0": 0.25, "1": 0.5, "2": 0.75}}, sparsity=0.5
    ),
    RunConfig(method="clearcut", pattern="4:8", stages=({"stage": "reallocation", "lsa": True}, "barber")),
    RunConfig(calibration=Calibration(windows=3, seqlen=32, seed=7), evaluation=Evaluation(windows=None, seqlen=64)),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.title)
def test_an_address_brings_the_form_up_with_its_config(store, monkeypatch, config):
    wanted: list[RunConfig] = []
    monkeypatch.setattr(plan, "before", lambda config, shown: wanted.append(config))
    open_app(None, **plan.address(config))
    assert wanted[-1] == config


def test_a_chart_of_eighty_blocks_has_a_panel_each():
    values = np.geomspace(1e-3, 1, 64)
    row = pd.Series(fitted(torch.from_numpy(values), 64, 64)["peak"])
    figure = panels([(f"block {number}", Spectrum(values, row)) for number in range(80)], "block 3")
    assert len([note for note in figure.layout.annotations if note.text.startswith("block")]) == 80
    assert figure.layout.height < 2000


def test_the_tail_holds_its_share_of_the_eigenvalues():
    """The drawn tail, integrated from its beginning to infinity, is the share of eigenvalues in it."""
    values = np.sort(np.random.default_rng(0).pareto(2.0, 500) + 1)
    row = pd.Series(fitted(torch.from_numpy(values), 500, 500)["peak"])
    figure = esd(Spectrum(values, row))
    line = next(trace for trace in figure.data if str(trace.name).startswith("tail"))
    beyond = line.y[-1] * line.x[-1] / (row.alpha - 1)  # the integral of a power law from its last point on
    assert np.trapezoid(line.y, line.x) + beyond == pytest.approx(row.tail_size / 500, rel=0.02)  # 40 points
