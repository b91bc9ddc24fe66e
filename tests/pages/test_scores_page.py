"""The Scores page: nothing to explain, an offer, maps of two methods, one weight, and links that are wrong."""

import numpy as np
import pytest
import torch

from core.config import RunConfig, identify
from core.measurements.scores import Scores, inputs_file
from core.methods.magnitude import Magnitude
from core.methods.sparsegpt import SparseGPT
from core.methods.wanda import Wanda
from core.methods.wanda_variant import WandaVariant
from core.module_scores import open_scores
from core.patterns import Unstructured
from core.scoring.aggregate import Window, aggregate
from core.scoring.histogram import Histogram
from core.scoring.scored import CutFacts, scored
from core.statistics import InputStatistics
from core.store.artifacts import pack
from dashboard.components.charts.scores import (
    Colour,
    Strips,
    Target,
    clicked_place,
    matrix_map,
    score_histogram,
)
from tests.pages.conftest import LABELS, add_run, open_app

PAGE = "dashboard/scores.py"
MODULE = "blocks.1.mlp.down_proj"
HERE = {"block": "1", "module": "mlp.down_proj"}
NORM = torch.tensor([1.0, 2, 30, 1, 1, 1, 1, 1])


def weight_of(module: str) -> torch.Tensor:
    return torch.randn(8, 8, generator=torch.Generator().manual_seed(len(module)))


def keep(store, run, *methods) -> None:
    """What the job would keep of block 1; the run of the fixtures pruned the right half of every row."""
    modules = [f"blocks.1.{label}" for label in LABELS]
    weights = {f"weight of {module}": weight_of(module) for module in modules}
    norms = {f"norm of {module}": NORM.clone() for module in modules}
    facts = {"statistics": ["norm"], "sources": {module: module for module in modules}}
    store.keep_tensors(run.id, inputs_file(1), weights | norms, facts)
    for method in methods:
        scores, tensors, facts = Scores.of_run(run, block=1, method=method), {}, {}
        own = scores.of_the_run(run)
        for module in modules:
            known = store.mask(run.id, module) if own else None
            stats = InputStatistics({"norm": NORM, "gram": torch.diag(NORM.square())})
            found = scored(method, weight_of(module), stats, Unstructured(), 0.5, known)
            facts[module] = found.facts.model_dump(mode="json")
            if found.scores is not None:
                tensors[f"scores of {module}"] = found.scores
            if not own:
                tensors[f"keep of {module}"] = pack(found.keep)
        store.keep_tensors(run.id, scores.file, tensors, facts)


def said(app) -> str:
    kinds = ("caption", "markdown", "info", "error", "warning")
    return " ".join(str(element.value) for kind in kinds for element in app.get(kind))


def charts(app) -> int:
    return len(app.get("plotly_chart"))


def test_without_a_run_it_says_what_to_do(store):
    app = open_app(PAGE)
    assert "No run is selected" in said(app)
    assert not charts(app)


def test_a_run_that_has_not_finished_has_nothing_to_explain(store):
    config = RunConfig()
    attempt, _ = store.submit(config, identify(config))
    store.end(attempt.id, "failed", "The disk is full.")
    app = open_app(PAGE, run=attempt.run_id)
    assert "This run is failed" in said(app)
    assert "The disk is full." in said(app)


def test_unknown_scores_are_offered(store, run, measured):
    app = open_app(PAGE, run=run.id, **HERE)
    assert charts(app) == 1  # the grid of modules
    button = next(button for button in app.button if button.label.startswith("Compute the scores"))
    assert button.label == "Compute the scores of block 1 (Wanda and Magnitude)"
    button.click().run()
    assert not app.exception
    assert measured == [Scores.of_run(run, block=1, method=method) for method in (Wanda(), Magnitude())]
    assert any("It waits for the run that is under way" in info.value for info in app.info)


def test_known_scores_are_shown_and_only_the_others_offered(store, run, measured):
    keep(store, run, Wanda())
    app = open_app(PAGE, run=run.id, **HERE)
    assert charts(app) == 1 + 2 + 1  # grid, the module and its window, the histogram
    assert any(button.label == "Compute the scores of block 1 (Magnitude)" for button in app.button)


@pytest.mark.parametrize("view", ["scores", "highest", "kept", "disagree"])
def test_two_methods_side_by_side(store, run, view):
    keep(store, run, Wanda(), Magnitude())
    app = open_app(PAGE, run=run.id, **HERE)
    app.segmented_control(key="view").set_value(view).run()
    assert not app.exception
    assert charts(app) == 1 + (2 if view == "disagree" else 4) + 2
    a, b = (open_scores(Scores.of_run(run, block=1, method=m), run, MODULE, store) for m in (Wanda(), Magnitude()))
    both, either = int((a.keep & b.keep).sum()), int((a.keep | b.keep).sum())
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Overlap (Jaccard)"] == f"{both / either:.3f}"
    assert shown["Disagree"] == f"{100 * (either - both) / 64:.4g} %"


def test_one_weight_is_explained_by_both(store, run):
    keep(store, run, Wanda(), Magnitude())
    app = open_app(PAGE, run=run.id, output="3", input="5", **HERE)
    weight = float(weight_of(MODULE)[3, 5])
    text = said(app)
    assert f"Output 3, input 5: weight {weight:.4g}, input norm 1" in text
    assert f"|w| = {abs(weight):.3g} × norm 1 → {abs(weight):.3g}" in text
    assert "the cut of the matrix is" in text
    assert "(1 is the highest; 4 stay)" in text  # of a row, as the run's mask has it
    app.number_input(key="input").set_value(2).run()
    assert f"× norm 30 → {30 * abs(float(weight_of(MODULE)[3, 2])):.3g}" in said(app)
    assert app.query_params["input"] == "2"


def test_the_loudest_input_is_selected_at_first(store, run):
    keep(store, run, Wanda(), Magnitude())
    app = open_app(PAGE, run=run.id, **HERE)
    assert (app.number_input(key="output").value, app.number_input(key="input").value) == (0, 2)


@pytest.mark.parametrize("value", ["8", "-1", "many"])
def test_a_link_to_a_weight_that_is_not_there_says_so(store, run, value):
    keep(store, run, Wanda(), Magnitude())
    app = open_app(PAGE, run=run.id, output=value, input="5", **HERE)
    assert f"output = {value} does not lie in this module" in said(app)
    assert (app.number_input(key="output").value, app.number_input(key="input").value) == (0, 5)


def test_the_weight_and_its_explanation_are_what_the_store_holds(store, run):
    """The window that can be downloaded, and the weight that is explained, against the matrices as they were kept."""
    keep(store, run, Wanda(), Magnitude())
    app = open_app(PAGE, run=run.id, output="6", input="1", **HERE)
    scores = weight_of(MODULE).abs()
    rank = 1 + int((scores > scores[6, 1]).sum())
    assert f"Score {float(scores[6, 1]):.4g} · rank {rank:,} of 64 in the matrix (1 is the highest; 32 stay)" in said(
        app
    )
    row = weight_of(MODULE)[6].abs() * NORM
    rank = 1 + int((row > row[1]).sum())
    assert f"Score {float(row[1]):.4g} · rank {rank} of 8 in its row" in said(app)


def test_a_link_to_an_unknown_method_says_so(store, run, measured):
    app = open_app(PAGE, run=run.id, against="nothing", **HERE)
    assert "Beside it = 'nothing' in the link is not there to choose; shown is 'Magnitude'." in said(app)


def test_the_method_beside_is_in_the_address(store, run, measured):
    app = open_app(PAGE, run=run.id, against="sparsegpt", **HERE)
    next(button for button in app.button if button.label.startswith("Compute the scores")).click().run()
    assert measured[1] == Scores.of_run(run, block=1, method=SparseGPT())
    assert "wanda" not in app.selectbox(key="against").options


def test_a_magnitude_run_stands_beside_wanda(store, measured):
    run = add_run(store, RunConfig(method="magnitude"))
    app = open_app(PAGE, run=run.id, **HERE)
    assert app.selectbox(key="against").value == "wanda"


def test_a_method_without_scores_shows_its_mask_and_says_why(store, run):
    keep(store, run, Wanda(), WandaVariant())
    app = open_app(PAGE, run=run.id, against="wanda_variant", **HERE)
    assert "chooses its mask while it goes, so it has no scores of a whole matrix. Shown is its mask." in said(app)
    assert charts(app) == 1 + 4 + 1  # a histogram only where there are scores


def test_a_method_that_does_not_go_with_the_pattern_is_told(store, measured):
    run = add_run(store, RunConfig(pattern="2:4"))
    app = open_app(PAGE, run=run.id, against="wanda_variant", **HERE)
    assert "method = wanda_variant does not support pattern = 2:4" in said(app)
    assert any(button.label == "Compute the scores of block 1 (Wanda)" for button in app.button)


def test_a_click_on_a_map_is_the_place_under_it():
    values = aggregate(torch.arange(64.0).reshape(8, 8).numpy(), Window(2, 4, 3, 2))
    strips = Strips(NORM.numpy()[4:6], "Norm", np.array([1.0, 2.0, 3.0]), "Mean score")
    targets = [Target(row, column, f"{row}, {column}") for row in (2, 3, 4) for column in (4, 5)]
    figure = matrix_map(values, Colour("Score"), strips, targets, numbers=True)
    heatmap = next(trace for trace in figure.data if trace.type == "heatmap")
    targeted = next(trace for trace in figure.data if trace.hovertemplate)
    assert heatmap.z.tolist() == [[20, 21], [28, 29], [36, 37]]
    assert heatmap.text.tolist() == [["20", "21"], ["28", "29"], ["36", "37"]]
    assert (heatmap.x.tolist(), heatmap.y.tolist()) == ([3.5, 4.5, 5.5], [1.5, 2.5, 3.5, 4.5])
    point = {"x": targeted.x[3], "y": targeted.y[3]}
    assert clicked_place({"selection": {"points": [point]}}) == (3, 5)
    assert targeted.text[3] == "3, 5"
    assert clicked_place({"selection": {"points": []}}) is None  # a second click on the same


def test_the_histograms_bars_are_the_counts():
    counts = Histogram(edges=(0.1, 1.0, 10.0), kept=(1, 5), pruned=(7, 2))
    many = CutFacts(groups=3, low=0.5, median=1.0, high=2.0, separates=True)
    figure = score_histogram(counts, many)
    assert {trace.name: list(trace.y) for trace in figure.data} == {"pruned": [7, 2, 2], "kept": [1, 5, 5]}
    assert [(shape.type, shape.x0, shape.x1) for shape in figure.layout.shapes] == [("rect", 0.5, 2), ("line", 1, 1)]
    assert "median of the cuts 1" in figure.layout.annotations[0].text
    assert not score_histogram(counts, None).layout.shapes
