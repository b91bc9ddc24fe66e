"""Every page, empty, with a run, and with what can go wrong."""

import numpy as np
import pytest

from core.config import Evaluation, RunConfig
from core.data import EmbeddedCorpus, TextFile
from core.errors import InputError
from core.evaluation.result import CorpusPerplexity, perplexity
from core.methods import Method
from dashboard.components import cache, plan
from tests.pages.conftest import add_run, open_app


def metrics(app) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def button(app, label: str):
    return next(button for button in app.button if button.label == label)


def test_the_first_button_submits_the_default_run(submitted):
    app = open_app()
    button(app, "Prune SmolLM2 now").click().run()
    assert submitted == [RunConfig()]
    assert not app.exception
    assert metrics(app)["Perplexity"] == f"{np.exp(4.1):.2f}"


def test_a_finished_run_shows_its_figures(store, run):
    app = open_app()
    shown = metrics(app)
    assert shown["Perplexity"] == f"{np.exp(4.1):.2f}"
    assert shown["Dense"] == f"{np.exp(3.1):.2f}"
    assert shown["Sparsity"] == "50 %"
    assert "A warning that must be seen." in [warning.value for warning in app.warning]
    assert any("2 × 256 tokens" in caption.value for caption in app.caption)


def test_the_estimate_follows_the_sparsity(store):
    app = open_app()
    assert metrics(app)["Weights to prune"] == "192"
    app.slider(key="sparsity").set_value(0.25).run()
    assert metrics(app)["Weights to prune"] == "96"


def test_n_m_replaces_the_sparsity_slider(store):
    app = open_app()
    app.selectbox(key="pattern").set_value("nm").run()
    assert not [slider for slider in app.slider if slider.key == "sparsity"]
    assert any("This pattern prunes 50 %" in caption.value for caption in app.caption)
    assert metrics(app)["Weights to prune"] == "192"


def test_only_the_chosen_methods_fields_are_shown(store):
    app = open_app()
    assert "method_sparsegpt_damping" not in [number.key for number in app.number_input]
    app.selectbox(key="method").set_value("sparsegpt").run()
    assert "method_sparsegpt_damping" in [number.key for number in app.number_input]


@pytest.mark.parametrize(
    ("widget", "key", "value", "sentence"),
    [
        ("number_input", "pattern_nm_n", 4, "4:4 prunes nothing"),
        ("number_input", "pattern_nm_m", 5, "not divisible by 5"),
        ("number_input", "calibration_seqlen", 9000, "calibration.seqlen = 9000 is beyond the model's maximum of 8192"),
        ("number_input", "evaluation_seqlen", 9000, "evaluation.seqlen = 9000"),
    ],
)
def test_bad_input_is_one_sentence_beside_the_form(store, widget, key, value, sentence):
    app = open_app()
    if key.startswith("pattern"):
        app.selectbox(key="pattern").set_value("nm").run()
    getattr(app, widget)(key=key).set_value(value).run()
    assert not app.exception
    assert [sentence in error.value for error in app.error] == [True]
    assert not [b for b in app.button if b.label == "Start" and not b.disabled]


def test_a_missing_text_file_is_one_sentence(store):
    app = open_app()
    app.selectbox(key="calibration_corpus").set_value("text").run()
    app.text_input(key="calibration_corpus_text_path").set_value("/no/such/file").run()
    assert [error.value for error in app.error] == [
        "text = '/no/such/file' is not a file; give the path of a text file."
    ]


def test_a_refused_submission_is_one_sentence(store, monkeypatch):
    class Jobs:
        def submit(self, config):
            raise InputError("The worker refuses.")

    monkeypatch.setattr(cache, "jobs", Jobs)
    app = open_app()
    button(app, "Start").click().run()
    assert not app.exception
    assert "The worker refuses." in [error.value for error in app.error]


def test_a_link_restores_run_and_module(store, run):
    add_run(store, RunConfig(sparsity=0.6))
    app = open_app("dashboard/sparsity.py", run=run.id, block="2", module="mlp.down_proj")
    assert app.selectbox(key="run").value == run.id
    assert any("blocks.2.mlp.down_proj" in header.value for header in app.subheader)


def test_a_link_to_a_lost_run_says_so(store, run):
    app = open_app(run="0123456789abcdef")
    assert any("0123456789abcdef does not exist" in warning.value for warning in app.warning)


def test_the_latest_run_is_selected_at_first(store, run):
    later = add_run(store, RunConfig(sparsity=0.6))
    app = open_app()
    assert app.selectbox(key="run").value == later.id
    assert app.query_params["run"] in (later.id, [later.id])


def test_the_line_sparsities_are_those_of_the_mask(store, run):
    rows, columns = cache.line_sparsity(run, "blocks.0.mlp.down_proj")
    assert rows.tolist() == [0.5] * 8
    assert columns.tolist() == [0.0] * 4 + [1.0] * 4


@pytest.mark.parametrize("status", ["failed", "cancelled", "interrupted"])
def test_a_run_that_ended_early_says_why(store, status):
    run = add_run(store)
    attempt, _ = store.submit(run.config, run.identity)
    store.start(attempt.id)
    store.end(attempt.id, status, "The reason.")
    app = open_app()
    said = " ".join(element.value for element in [*app.error, *app.warning, *app.info])
    assert "The reason." in said or status == "cancelled"
    assert "Perplexity" in metrics(app), "the earlier attempt's result stays"


def test_a_queued_run_says_what_it_waits_for(store, run):
    ahead, _ = store.submit(RunConfig(sparsity=0.3), run.identity)
    store.start(ahead.id)
    waiting, _ = store.submit(RunConfig(sparsity=0.4), run.identity)
    app = open_app(run=waiting.run_id)
    assert any("Waiting for Wanda 30 %" in info.value for info in app.info)


def test_a_running_run_shows_phase_and_can_be_cancelled(store, run):
    attempt, _ = store.submit(RunConfig(sparsity=0.3), run.identity)
    store.start(attempt.id)
    app = open_app(run=attempt.run_id)
    button(app, "Cancel").click().run()
    assert store.attempt(attempt.id).cancel_requested


def test_runs_can_be_deleted(store, run, monkeypatch):
    class Jobs:
        def workers(self):
            return ["worker"]

    monkeypatch.setattr(cache, "jobs", Jobs)
    app = open_app("dashboard/runs.py")
    button(app, "Delete this run").click().run()
    assert not app.exception
    assert store.runs() == []


def test_stages_are_chosen_with_their_fields_and_reach_the_run(submitted):
    app = open_app()
    app.selectbox(key="pattern").set_value("nm").run()
    app.multiselect(key="stage").set_value(["barber", "reallocation"]).run()
    app.number_input(key="stage_barber_threshold").set_value(0.25).run()
    app.toggle(key="stage_reallocation_lsa").set_value(True).run()
    button(app, "Start").click().run()
    assert not app.exception
    (config,) = submitted
    assert [stage.name for stage in config.stages] == ["reallocation", "barber"]
    assert (config.stages[0].lsa, config.stages[1].threshold) == (True, 0.25)


def test_further_corpora_are_chosen_and_reach_the_run(submitted, tmp_path):
    (tmp_path / "mine.txt").write_text("Words.")
    app = open_app()
    app.multiselect(key="evaluation_also").set_value(["text"]).run()
    app.text_input(key="evaluation_also_text_path").set_value(str(tmp_path / "mine.txt")).run()
    button(app, "Start").click().run()
    assert not app.exception
    (config,) = submitted
    assert config.evaluation.also == (TextFile(path=str(tmp_path / "mine.txt")),)
    assert config.evaluation.corpus == EmbeddedCorpus()


def test_the_same_corpus_twice_is_one_sentence(store):
    app = open_app()
    app.multiselect(key="evaluation_also").set_value(["embedded"]).run()
    assert [error.value for error in app.error] == [
        "evaluation.also names Embedded: English Wikipedia again; a corpus is measured once, so leave it out."
    ]


def test_a_link_restores_further_corpora(store, tmp_path):
    (tmp_path / "mine.txt").write_text("Words.")
    evaluation = Evaluation(also=(TextFile(path=str(tmp_path / "mine.txt")),), windows=7)
    app = open_app(**plan.address(RunConfig(evaluation=evaluation)))
    assert app.multiselect(key="evaluation_also").value == ["text"]
    assert app.text_input(key="evaluation_also_text_path").value == str(tmp_path / "mine.txt")
    assert app.number_input(key="evaluation_windows").value == 7


def test_further_corpora_are_shown_dense_beside_pruned(store):
    also = CorpusPerplexity(
        evaluated_on="mine.txt, 2 × 256 tokens", dense=perplexity([2.0], 8), pruned=perplexity([3.0, 3.2], 8)
    )
    add_run(store, also=(also,))
    app = open_app()
    (line,) = [text.value for text in app.markdown if "mine.txt" in text.value]
    assert line.startswith(f"- **mine.txt, 2 × 256 tokens**: perplexity {np.exp(2.0):.2f}")
    assert f" → {np.exp(3.1):.2f} ± {0.1 * np.exp(3.1):.2f}" in line


@pytest.mark.parametrize(
    ("method", "stages", "sentence"),
    [
        ("wanda", ["reallocation"], "reallocation does not go with pattern = Unstructured"),
        ("sparsegpt", ["reconstruction"], "reconstruction does not go with method = sparsegpt"),
        ("wanda", ["reconstruction", "barber"], "undoes stage = reconstruction"),
        ("wanda_variant", ["barber"], "barber does not go with method = wanda_variant"),
    ],
)
def test_what_does_not_go_together_is_one_sentence_naming_both(store, method, stages, sentence):
    app = open_app()
    app.selectbox(key="method").set_value(method).run()
    app.multiselect(key="stage").set_value(stages).run()
    assert not app.exception
    assert [sentence in error.value for error in app.error] == [True]
    assert not [b for b in app.button if b.label == "Start" and not b.disabled]


@pytest.mark.parametrize("method", sorted(Method.registry))
def test_every_method_has_its_formula_paper_and_bibtex(store, method):
    app = open_app()
    app.selectbox(key="method").set_value(method).run()
    cls = Method.registry[method]
    assert cls.formula in [latex.value.strip("$ \n") for latex in app.latex]
    assert cls.reference.bibtex in [code.value for code in app.code]
    assert cls.summary in [caption.value for caption in app.caption]
