"""The Compare page: two runs' configs, figures, masks, texts and tasks."""

import math

import numpy as np
import pytest

from core.config import Calibration, Evaluation, RunConfig
from core.data import TextFile
from core.evaluation.accuracy import TaskAccuracy
from core.evaluation.result import Evaluated, TokenLosses, perplexity
from core.evaluation.token_text import pieces
from core.measurements.generation import Continuation
from core.measurements.perplexity import PerplexityOn
from core.measurements.zero_shot import ZeroShot
from dashboard.components import cache
from dashboard.components.token_text import coloured
from tests.pages.conftest import add_run, open_app

PAGE = "dashboard/compare.py"


def texts(app) -> str:
    kinds = ("caption", "markdown", "info", "error", "warning", "text")
    return " ".join(str(element.value) for kind in kinds for element in app.get(kind))


def button(app, label: str):
    return next(button for button in app.button if button.label.startswith(label))


@pytest.fixture
def two(store):
    return add_run(store, RunConfig(sparsity=0.6)), add_run(store, RunConfig(method="magnitude"), loss=5.0)


def frames(app) -> list:
    return [frame.value for frame in app.dataframe]


def test_it_takes_two_finished_runs(store):
    assert "Choose a finished run" in texts(open_app(PAGE))
    add_run(store)
    assert "another finished run" in texts(open_app(PAGE))


def test_configs_figures_and_masks_are_held_against_each_other(store, two):
    a, b = two
    app = open_app(PAGE, run=a.id, **{"with": b.id})
    configs, figures = frames(app)[:2]
    assert configs.set_index("path").loc["method"].tolist() == ["wanda", "magnitude"]
    assert configs.set_index("path").loc["sparsity"].tolist() == ["0.6", "0.5"]
    row = figures.set_index("figure").loc["perplexity"]
    assert (row.a, row.b) == pytest.approx((math.exp(4.1), math.exp(5.1)))
    assert figures.set_index("figure").loc["mean loss (nats)"].difference.startswith("+1 ± ")
    assert "over the model 100.0%, where masks that know nothing of each other would have about 33.3%" in texts(app)
    assert "Both measured on Wikipedia (embedded), 2 × 256 tokens" in texts(app)


def test_a_link_to_a_lost_second_run_chooses_another(store, two):
    a, b = two
    app = open_app(PAGE, run=a.id, **{"with": "0123456789abcdef"})
    assert not app.exception
    assert app.selectbox(key="with").value == b.id


def test_different_texts_are_not_compared(store, two):
    a = two[0]
    b = add_run(store, RunConfig(method="ria"), evaluated_on="Another text, 9 × 256 tokens")
    app = open_app(PAGE, run=a.id, **{"with": b.id})
    assert "the perplexities cannot be compared" in texts(app)


def test_losses_that_are_not_known_are_measured_on_one_text(store, two, measured):
    a, b = two
    app = open_app(PAGE, run=a.id, **{"with": b.id})
    button(app, "Measure the losses").click().run()
    assert not app.exception
    assert [(type(one), one.run) for one in measured] == [(PerplexityOn, a.id), (PerplexityOn, b.id)]
    assert {one.evaluation for one in measured} == {a.config.evaluation}


def test_known_losses_colour_the_text(store, two, monkeypatch):
    a, b = two
    monkeypatch.setattr(cache, "token_pieces", lambda source, tokens: [f"<{token}>" for token in tokens])
    for run, loss in ((a, 1.0), (b, 2.5)):
        one = PerplexityOn.of_run(
            run, evaluation=a.config.evaluation, fingerprints=(a.identity.evaluation_fingerprint,)
        )
        losses = np.full((2, 3), loss, dtype=np.float32)
        found = Evaluated(perplexity([loss, loss], 4), TokenLosses(np.arange(8, dtype=np.int32).reshape(2, 4), losses))
        store.keep_evaluated(one.subject, one.keys[0], found)
    app = open_app(PAGE, run=a.id, **{"with": b.id})
    assert not app.exception
    assert "Mean of this window: +1.500 nats a token" in texts(app)
    app.slider(key="window").set_value(2).run()
    (page,) = [element for element in app.get("html") if "line-height" in element.proto.body]
    assert "&lt;4&gt;" in page.proto.body
    assert page.proto.body.count("rgba(213, 94, 0, 0.30)") == 3


def test_a_token_has_the_colour_of_its_rise():
    text = coloured(["A", " <b>", "\n", "d"], [1.0, 3.0, 0.5], [4.0, 1.5, 0.5])
    first, second, third = text.split("<span ")[1:]
    assert text.startswith('<p style="line-height: 1.9; overflow-wrap: anywhere">A<span ')
    assert 'rgba(213, 94, 0, 0.60)" title="probability 0.368 → 0.018, loss +3.00 nats"> &lt;b&gt;' in first
    assert "rgba(0, 114, 178, 0.30)" in second
    assert "<br>" in second
    assert ", 0.00)" in third


class Bytes:
    """A tokenizer whose tokens are bytes."""

    def decode(self, tokens, clean_up_tokenization_spaces):
        return bytes(tokens).decode("utf-8", errors="replace")


def test_pieces_are_the_text_and_hold_whole_characters():
    tokens = list("aé€.".encode())
    found = pieces(tokens, Bytes())
    assert found == ["a", "", "é", "", "", "€", "."]
    broken = pieces(list("a€".encode())[:-1], Bytes())
    assert broken == ["a", "", "�"]


class Words:
    """A tokenizer that drops the space before the first word, and counts what it decodes."""

    decoded = 0

    def decode(self, tokens, clean_up_tokenization_spaces):
        self.decoded += len(tokens)
        return "".join(f" w{token}" for token in tokens).removeprefix(" ")


def test_the_pieces_of_a_long_text_are_found_in_time_that_grows_with_it():
    text = "Ein Käfer kostet 3 €. " * 60
    assert "".join(pieces(list(text.encode()), Bytes())) == text
    tokenizer = Words()
    assert pieces(range(2000), tokenizer) == ["w0", *(f" w{token}" for token in range(1, 2000))]
    assert tokenizer.decoded < 100 * 2000


def test_runs_of_other_models_are_told_apart(store, two):
    """The dense texts are the first run's model's, and so are its accuracies; losses are not held against each other."""
    other = add_run(store, RunConfig(model={"source": "embedded", "dtype": "bfloat16"}))
    app = open_app(PAGE, run=two[0].id, **{"with": other.id})
    assert "Dense (A's model)" in texts(app)
    assert "The models differ" in texts(app)
    assert "compared window by window" not in texts(app)


def test_texts_of_one_name_that_are_not_the_same_are_not_compared(store, tmp_path):
    """A file that changed, and one of the same name elsewhere."""
    text = tmp_path / "text.txt"
    found = []
    for content in ("words", "other words"):
        text.write_text(content)
        config = RunConfig(evaluation=Evaluation(corpus=TextFile(path=str(text))))
        found.append(add_run(store, config, evaluated_on="text.txt, 2 × 256 tokens"))
    assert found[0].id != found[1].id
    app = open_app(PAGE, run=found[0].id, **{"with": found[1].id})
    assert "text.txt, 2 × 256 tokens: the two texts of this name are not the same" in texts(app)
    assert frames(app)[1].set_index("figure").loc["mean loss (nats)"].difference == "–"
    curves = open_app("dashboard/curves.py", sweep="all")
    assert len(curves.selectbox(key="measured_on").options) == 2
    assert len(curves.dataframe[0].value) == 1


def test_a_prompt_is_continued_by_all_three(store, two, measured):
    a, b = two
    app = open_app(PAGE, run=a.id, **{"with": b.id})
    app.text_area(key="prompt").set_value("Once").run()
    button(app, "Continue the prompt").click().run()
    assert [(type(one), one.run) for one in measured] == [
        (Continuation, None),
        (Continuation, a.id),
        (Continuation, b.id),
    ]
    for one, text in zip(measured, (" upon", " a", " time"), strict=True):
        store.keep_finding(one.id, {"text": text})
    app = open_app(PAGE, run=a.id, prompt="Once", **{"with": b.id})
    assert [text.value for text in app.text] == ["Once upon", "Once a", "Once time"]
    app.text_area(key="prompt").set_value("  ").run()
    assert "is empty; give a text to continue" in texts(app)


@pytest.fixture
def tasks(tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "boolq.jsonl").write_text('{"question": "is it", "passage": "It is.", "label": 1}\n')
    return str(folder)


def test_tasks_are_asked_of_all_three_and_shown_with_errors(store, two, measured, tasks):
    a, b = two
    app = open_app(PAGE, run=a.id, zero_shot="true", tasks_folder=tasks, **{"with": b.id})
    button(app, "Ask the tasks").click().run()
    assert not app.exception
    assert [(type(one), one.run) for one in measured] == [(ZeroShot, None), (ZeroShot, a.id), (ZeroShot, b.id)]
    for one, share in zip(measured, (0.8, 0.6, 0.5), strict=True):
        accuracy = TaskAccuracy(
            task="boolq", accuracy=share, standard_error=0.02, normalised=None, normalised_error=None, documents=1,
            available=1, cut=0, source="", fingerprint="", task_version="", harness="", seconds=1.0,
        )  # fmt: skip
        store.remember(one._key("boolq"), accuracy.model_dump(mode="json"))
    app = open_app(PAGE, run=a.id, zero_shot="true", tasks_folder=tasks, **{"with": b.id})
    table = next(frame for frame in frames(app) if "dense" in frame.columns)
    assert table.iloc[0].tolist() == ["BoolQ", "80.0 ± 2.0", "60.0 ± 2.0", "50.0 ± 2.0", 1]


def test_a_folder_without_tasks_is_one_sentence(store, two, tmp_path):
    a, b = two
    app = open_app(PAGE, run=a.id, zero_shot="true", tasks_folder=str(tmp_path / "nowhere"), **{"with": b.id})
    assert not app.exception
    assert "does not exist; name one that holds files such as boolq.jsonl" in texts(app)


def test_models_with_other_tokens_are_not_coloured(store, two, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("words")
    corpus = TextFile(path=str(text))
    other = RunConfig(
        model={"source": "embedded", "dtype": "bfloat16"},
        calibration=Calibration(corpus=corpus),
        evaluation=Evaluation(corpus=corpus),
    )
    b = add_run(store, other)
    app = open_app(PAGE, run=two[0].id, **{"with": b.id})
    assert "of different models" in texts(app)


def test_data_sets_are_not_looked_up_before_they_are_wanted(store, two, monkeypatch):
    def looked_up(choice):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(cache, "zero_shot", looked_up)
    a, b = two
    app = open_app(PAGE, run=a.id, **{"with": b.id})
    assert not app.toggle(key="zero_shot").value
