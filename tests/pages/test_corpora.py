"""Corpora on the Prune page: every one is offered with its own fields, and what is wrong with a text stands beside the form."""

from types import SimpleNamespace

import pytest

from core.config import Calibration, RunConfig
from core.data import Corpus, PastedText
from dashboard.components import cache
from tests.pages.conftest import add_run, open_app

CORPUS = "calibration_corpus"


def choose(app, name: str, key: str = CORPUS):
    return app.selectbox(key=key).set_value(name).run()


def keys(app) -> set[str]:
    """Of the widgets that belong to the calibration corpus alone."""
    elements = [*app.text_input, *app.text_area, *app.number_input, *app.toggle]
    return {element.key.removeprefix(f"{CORPUS}_") for element in elements if element.key.startswith(f"{CORPUS}_")}


def errors(app) -> list[str]:
    assert not app.exception
    return [error.value for error in app.error]


def starts(app) -> bool:
    return any(button.label == "Start" and not button.disabled for button in app.button)


@pytest.fixture
def no_workers(monkeypatch):
    monkeypatch.setattr(cache, "jobs", lambda: SimpleNamespace(workers=lambda: []))


@pytest.fixture(autouse=True)
def places(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNESCOPE_CORPORA", str(tmp_path))
    monkeypatch.setenv("PRUNESCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("name", sorted(Corpus.registry))
def test_a_corpus_shows_its_own_fields(store, name):
    app = choose(open_app(), name)
    assert keys(app) == {f"{name}_{field}" for field in Corpus.registry[name].model_fields}
    assert not app.exception


def test_a_local_copy_needs_no_field(store, places):
    (places / "c4").mkdir()
    (places / "c4" / "train.jsonl").write_text('{"text": "Words."}\n')
    app = choose(open_app(), "c4")
    assert (errors(app), starts(app), keys(app)) == ([], True, set())
    assert any("random documents" in caption.value for caption in app.caption)


def test_a_file_of_documents_with_another_field(store, places):
    file = places / "mine.jsonl"
    file.write_text('{"words": "A text."}\n')
    app = choose(open_app(), "documents")
    app.text_input(key=f"{CORPUS}_documents_path").set_value(str(file)).run()
    assert errors(app) == [f"documents = {str(file)!r}, line 1, has no field 'text'; its fields are words."]
    assert not starts(app)
    app.text_input(key=f"{CORPUS}_documents_field").set_value("words").run()
    assert (errors(app), starts(app)) == ([], True)


def test_a_pasted_text_stays_for_the_session_and_out_of_the_address(store, no_workers):
    app = choose(open_app(), "pasted")
    assert errors(app) == ["pasted = '' is empty; paste a text."]
    app.text_area(key=f"{CORPUS}_pasted_content").set_value("A text of my own.").run()
    assert (errors(app), starts(app)) == ([], True)
    assert not [name for name in app.query_params if "content" in name]
    app.switch_page("dashboard/runs.py").run()
    app.switch_page("dashboard/prune.py").run()
    assert app.text_area(key=f"{CORPUS}_pasted_content").value == "A text of my own."


def test_a_runs_pasted_text_opens_in_the_form(store, no_workers):
    corpus = PastedText(content="What this run read.")
    add_run(store, RunConfig(calibration=Calibration(corpus=corpus)))
    app = choose(open_app(), "pasted")
    app.text_area(key=f"{CORPUS}_pasted_content").set_value("Another text.").run()
    app.switch_page("dashboard/runs.py").run()
    next(button for button in app.button if button.label == "Change …").click().run()
    assert app.selectbox(key=CORPUS).value == "pasted"
    assert app.text_area(key=f"{CORPUS}_pasted_content").value == "What this run read."


def test_a_hub_corpus_without_a_hub_is_one_sentence(store, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    app = choose(open_app(), "wikitext2")
    (message,) = errors(app)
    assert message.startswith("corpus = 'wikitext2' cannot be reached")
    assert "wikitext2/train.jsonl" in message
    assert not starts(app)


def test_two_files_of_a_kind_are_further_corpora(store, places, monkeypatch):
    """They are in the link, and in the form that a run opens; a third, pasted, comes up with its text."""
    asked = []
    jobs = SimpleNamespace(
        workers=lambda: [], submit=lambda config: asked.append(config) or add_run(store, config).attempt
    )
    monkeypatch.setattr(cache, "jobs", lambda: jobs)
    files = [places / f"{name}.txt" for name in ("one", "two")]
    for file in files:
        file.write_text(f"The text of {file.stem}.")
    app = open_app()
    app.multiselect(key="evaluation_also").set_value(["text"]).run()
    app.number_input(key="evaluation_also_text_many").set_value(2).run()
    for key, file in zip(("evaluation_also_text_path", "evaluation_also_text_2_path"), files, strict=True):
        app.text_input(key=key).set_value(str(file)).run()
    app.multiselect(key="evaluation_also").set_value(["text", "pasted"]).run()
    app.text_area(key="evaluation_also_pasted_content").set_value("A pasted text.").run()
    assert (errors(app), starts(app)) == ([], True)
    next(button for button in app.button if button.label == "Start").click().run()
    (config,) = asked
    assert sorted(corpus.described for corpus in config.evaluation.also) == [
        f"Local text file (path {files[0]})",
        f"Local text file (path {files[1]})",
        "Pasted text (content A pasted text.)",
    ]
    again = open_app("dashboard/runs.py")
    next(button for button in again.button if button.label == "Change …").click().run()
    assert errors(again) == []
    assert again.text_input(key="evaluation_also_text_2_path").value == str(files[1])
    assert again.text_area(key="evaluation_also_pasted_content").value == "A pasted text."
    labels = {button.label for button in again.button}
    assert "Repeat" in labels, "the form says another run"
    assert "Change …" not in labels
