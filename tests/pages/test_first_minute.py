"""An empty store: the example wherever one looks, and the tour."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.config import RunConfig
from dashboard.components import tour
from tests.pages.conftest import APP, add_run, open_app

EMPTY = [
    "dashboard/prune.py",
    "dashboard/scores.py",
    "dashboard/sparsity.py",
    "dashboard/compare.py",
    "dashboard/runs.py",
    "dashboard/curves.py",
]
ORDER = ["Prune", "Spectra", "Scores", "Curves", "Learn"]


def keys(app: AppTest) -> set[str | None]:
    return {button.key for button in app.button}


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def step(app: AppTest) -> str | None:
    """The name of the step that is shown."""
    told = [text.value for text in app.markdown if text.value.startswith("**Tour, ")]
    return told[0].partition(" · ")[2].partition(":")[0] if told else None


def press(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception, app.exception[0].message
    return app


@pytest.mark.parametrize("page", EMPTY)
def test_every_empty_page_offers_the_example_and_shows_how_it_goes(submitted, page):
    app = open_app(page)
    next(button for button in app.button if button.label == "Prune SmolLM2 now").click().run()
    assert not app.exception
    assert submitted == [RunConfig()]
    assert [title.value for title in app.title] == ["What happens if I prune it?"]
    assert "Perplexity" in [metric.label for metric in app.metric]


@pytest.mark.parametrize("page", EMPTY)
def test_the_example_is_not_offered_once_there_is_a_run(store, run, page):
    assert "Prune SmolLM2 now" not in labels(open_app(page))


# The tour --------------------------------------------------------------------------------------------------------------


def test_the_steps_are_the_pages_in_their_order():
    names = [one.name for one in tour.STEPS]
    assert names == [name for name in ORDER if (APP.parent / "dashboard" / f"{name.lower()}.py").is_file()]
    assert all((APP.parent / one.page).is_file() for one in tour.STEPS)
    assert [Path(one.page).stem.capitalize() for one in tour.STEPS] == names


def test_it_begins_by_itself_and_leads_from_page_to_page_and_back(store):
    app = open_app()
    assert step(app) == "Prune"
    assert "tour_back" not in keys(app)
    for one in tour.STEPS[1:]:
        press(app, "tour_next")
        assert step(app) == one.name
        assert one.question in [title.value for title in app.title]
    assert app.button(key="tour_next").label == "Done"
    press(app, "tour_back")
    assert step(app) == tour.STEPS[-2].name
    press(press(app, "tour_next"), "tour_next")
    assert step(app) is None


def test_it_stands_above_any_page_and_hides_none(store):
    app = open_app("dashboard/runs.py")
    assert step(app) == "Prune"
    assert [title.value for title in app.title] == ["Runs"]


def test_it_follows_who_goes_on_by_the_navigation(store):
    app = open_app()
    app.switch_page("dashboard/scores.py").run()
    assert step(app) == "Scores"
    assert "Why does this weight go?" in next(text.value for text in app.markdown if "Tour, 3 of 5" in text.value)
    app.switch_page("dashboard/runs.py").run()
    assert step(app) == "Scores"
    assert any("Runs is not a stop" in text.value and "goes on to Curves" in text.value for text in app.markdown)
    assert step(press(app, "tour_next")) == "Curves"


def test_once_skipped_it_does_not_come_back(store):
    assert step(press(open_app(), "tour_skip")) is None
    assert step(open_app()) is None, "another session on the same store"


def test_it_does_not_begin_where_a_run_has_finished(store, run):
    assert step(open_app()) is None


def test_it_goes_on_when_the_first_run_finishes_meanwhile(store):
    app = open_app()
    add_run(store)
    app.run()
    assert step(app) == "Prune"
    assert step(press(app, "tour_next")) == "Spectra"


def test_it_can_be_taken_again(store, run):
    app = open_app("dashboard/runs.py")
    press(app, "tour_again")
    assert step(app) == "Prune"
    assert [title.value for title in app.title] == ["What happens if I prune it?"]


def test_it_keeps_the_selection(store):
    first, _ = add_run(store), add_run(store, RunConfig(sparsity=0.6))
    app = press(open_app(run=first.id), "tour_again")
    assert app.selectbox(key="run").value == first.id
    press(app, "tour_next")
    assert app.selectbox(key="run").value == first.id
