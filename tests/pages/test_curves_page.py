"""The Curves page: the sweep builder, a sweep under way, its curve, and all runs together."""

import math

import pandas as pd
import pytest

from core.config import RunConfig
from core.models.sources import Hub
from core.published import published
from core.sweeps import Sweep
from core.sweeps.points import settle
from dashboard.components import cache
from dashboard.components.charts.curves import Style, clicked_run, curves
from tests.pages.conftest import add_run, open_app

PAGE = "dashboard/curves.py"


def texts(app) -> str:
    kinds = ("caption", "markdown", "info", "error", "warning")
    return " ".join(str(element.value) for kind in kinds for element in app.get(kind))


def button(app, label: str):
    return next(button for button in app.button if button.label.startswith(label))


def metrics(app) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


@pytest.fixture
def sweep(store):
    """Two methods at two sparsities, submitted; nothing has run."""
    wanted = Sweep.of(RunConfig(), method=["magnitude", "wanda"], sparsity=[0.3, 0.6])
    points, left_out = settle(wanted, cache.profile)
    return store.sweeps.submit(wanted, points, left_out, "A first sweep")


@pytest.fixture
def asked(store, monkeypatch) -> list:
    """What pages ask the jobs for; nothing is run."""
    wanted: list = []

    class Jobs:
        def sweep(self, sweep, name=None):
            wanted.append(sweep)
            points, left_out = settle(sweep, cache.profile)
            return store.sweeps.submit(sweep, points, left_out, name)

        def resume_sweep(self, sweep_id):
            wanted.append(sweep_id)

    monkeypatch.setattr(cache, "jobs", Jobs)
    return wanted


def finish(store, record, value: float = 4.0) -> None:
    for number, config in enumerate(planned.config for planned in record.sweep.planned):
        add_run(store, config, value + number)


def test_an_empty_store_offers_the_builder(store):
    app = open_app(PAGE)
    assert metrics(app)["Runs"] == "15"
    assert metrics(app)["Done already"] == "0"
    assert "No point is finished yet" in texts(app)


def test_what_a_sweep_needs_is_not_looked_up_at_every_click(store, monkeypatch):
    """A hub may have to be asked, which takes its time."""
    looked_up = []
    monkeypatch.setattr(cache, "settle", lambda *arguments: looked_up.append(1) or settle(*arguments))
    app = open_app(PAGE)
    app.text_input(key="sweep_name").set_value("a name").run()
    app.run()
    assert looked_up == [1]
    app.text_input(key="sweep_sparsities").set_value("50").run()
    assert metrics(app)["Runs"] == "3"
    assert looked_up == [1, 1]


def test_the_builder_starts_what_it_says(asked):
    app = open_app(PAGE)
    app.text_input(key="sweep_sparsities").set_value("50, 62.5").run()
    app.text_input(key="sweep_patterns").set_value("2:4").run()
    app.number_input(key="sweep_seeds").set_value(2).run()
    assert metrics(app)["Runs"] == "18"
    button(app, "Start the sweep").click().run()
    assert not app.exception
    assert {axis.path: len(axis.values) for axis in asked[0].axes} == {
        "method": 3, "sparsity": 3, "allocation": 1, "calibration.seed": 2
    }  # fmt: skip
    assert {planned.config.sparsity for planned in asked[0].planned} == {0.5, 0.625}
    assert "sweep" in app.query_params


@pytest.mark.parametrize(
    ("sparsities", "patterns", "part"),
    [
        ("half", "", "sparsity"),
        ("150", "", "sparsity = 1.5 is outside"),
        ("50", "5:4", "5:4"),
        ("", "", "Sparsities: none is given"),
    ],
)
def test_what_cannot_be_is_one_sentence(asked, sparsities, patterns, part):
    app = open_app(PAGE)
    app.text_input(key="sweep_sparsities").set_value(sparsities).run()
    app.text_input(key="sweep_patterns").set_value(patterns).run()
    assert not app.exception
    assert part in texts(app)


def test_a_sweep_that_stands_still_can_be_resumed(store, sweep, asked):
    app = open_app(PAGE)
    assert "No point is finished yet" in texts(app)
    button(app, "Resume (4 to run)").click().run()
    assert asked == [sweep.id]


def test_points_under_way_are_shown_and_cancelled(store, sweep):
    planned = sweep.sweep.planned[0].config
    from core.config import identify

    attempt, _ = store.submit(planned, identify(planned))
    store.start(attempt.id)
    app = open_app(PAGE)
    assert "Magnitude 30 %" in texts(app)
    button(app, "Cancel the sweep").click().run()
    assert store.attempt(attempt.id).cancel_requested
    assert "Cancelled. 1 still under way" in texts(app)
    assert button(app, "Cancel the sweep").disabled


def test_a_finished_sweep_is_a_curve(store, sweep):
    finish(store, sweep)
    app = open_app(PAGE)
    assert "All 4 runs of this sweep are finished" in texts(app)
    assert "2 × 256 tokens" in texts(app)
    assert len(app.dataframe[0].value) == 4
    again = open_app(PAGE, sweep=sweep.id)
    assert len(again.dataframe[0].value) == 4
    lost = open_app(PAGE, sweep="0123456789abcdef")
    assert "does not exist here" in texts(lost)
    assert len(lost.dataframe[0].value) == 4  # all finished runs


def point(line, target, value, spread=math.nan, mark=""):
    return {
        "line": line,
        "target": target,
        "perplexity": value,
        "spread": spread,
        "seeds": 3,
        "mark": mark,
        "told": "",
        "run": f"{line} {target}",
    }


def test_the_chart_has_a_line_each_and_the_floor():
    points = pd.DataFrame(
        [point("A", 0.3, 20.0), point("A", 0.5, 30.0, 2.0), point("B", 0.3, 40.0), point("A", 0.5, 35.0, mark="2:4")]
    )
    styles = {"A": Style.of(0, 0), "B": Style.of(1, 0)}
    figure = curves(points, styles, {"dense": 18.0}).to_plotly_json()
    by_name = [(trace["name"], list(trace["x"]), list(trace["y"]), trace["mode"]) for trace in figure["data"]]
    assert by_name == [
        ("A", [0.3, 0.5], [20.0, 30.0], "lines+markers"),
        ("A", [0.5], [35.0], "markers+text"),
        ("B", [0.3], [40.0], "lines+markers"),
    ]
    assert figure["data"][0]["error_y"]["array"] == [0, 2.0]
    assert list(figure["data"][1]["text"]) == ["2:4"]
    event = {"selection": {"points": [{"customdata": figure["data"][2]["customdata"][0]}]}}
    assert clicked_run(event) == "B 0.3"
    assert clicked_run({"selection": {"points": []}}) is None
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert figure["layout"]["shapes"][0]["y0"] == 18.0
    assert figure["layout"]["xaxis"]["range"] == pytest.approx([0.26, 0.54])
    assert list(figure["layout"]["yaxis"]["ticktext"]) == ["20", "25", "30", "35", "40"]
    low, high = figure["layout"]["yaxis"]["range"]
    assert 10**low < 18 < 40 < 10**high


def test_broken_models_do_not_break_the_axis():
    points = pd.DataFrame([point("A", 0.3, 20.0), point("A", 0.9, math.inf)])
    figure = curves(points, {"A": Style.of(0, 0)}, {}).to_plotly_json()
    assert math.isfinite(figure["layout"]["yaxis"]["range"][1])


def test_texts_are_not_mixed(store, sweep):
    finish(store, sweep)
    other = RunConfig(method="ria")
    add_run(store, other, evaluated_on="Another text, 9 × 256 tokens")
    app = open_app(PAGE, sweep="all")
    assert app.selectbox(key="measured_on").options == [
        "Another text, 9 × 256 tokens",
        "Wikipedia (embedded), 2 × 256 tokens",
    ]
    assert len(app.dataframe[0].value) == 1


def test_runs_that_do_not_make_a_curve_are_still_a_table(store):
    for windows in (8, 16):
        add_run(store, RunConfig(calibration={"windows": windows}))
    app = open_app(PAGE, sweep="all")
    assert "mix runs that differ in" in texts(app)
    assert len(app.dataframe[0].value) == 2


def test_published_results_are_a_layer_of_their_own(store, sweep):
    finish(store, sweep)
    app = open_app(PAGE, published="true")
    assert not app.exception
    assert "something was published" in texts(app)
    assert app.multiselect(key="published_models").value == ["LLaMA-2-7B"]
    chart = app.get("plotly_chart")[0].proto.spec
    assert '"name":"published"' in chart.replace(" ", "")


def test_a_run_of_a_published_model_shows_the_difference(store, monkeypatch, tmp_path):
    (tmp_path / "wikitext2").mkdir()
    for part in ("train", "test"):
        (tmp_path / "wikitext2" / f"{part}.jsonl").write_text('{"text": "words"}\n')
    monkeypatch.setenv("PRUNESCOPE_CORPORA", str(tmp_path))
    monkeypatch.setattr(Hub, "revision_key", lambda self: "a commit")
    config = RunConfig(
        model={"source": "hub", "id": "meta-llama/Llama-2-7b-hf"},
        calibration={"corpus": "wikitext2"},
        evaluation={"corpus": "wikitext2", "seqlen": 4096},
        method="ria",
    )
    add_run(store, config, math.log(17.0) - 0.1)
    app = open_app(PAGE, published="true")
    assert not app.exception
    shown = app.dataframe[0].value
    (published,) = [result.value for result in published_results() if result.method == "ria"]
    assert shown.difference.tolist() == [pytest.approx(17 - published)]


def published_results():
    return [result for result in published().results if result.model == "LLaMA-2-7B"]


def test_broken_models_are_said_to_be_missing_from_the_chart(store, sweep):
    finish(store, sweep, value=800.0)
    assert "points have an infinite perplexity" in texts(open_app(PAGE, sweep=sweep.id))
