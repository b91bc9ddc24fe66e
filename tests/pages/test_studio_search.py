"""The best allocation of a search in the allocation studio."""

import pytest

from core.config import RunConfig, identify
from core.models.sources import Hub
from core.profile import ModelProfile
from core.search import Search
from core.search.mutation import block_sizes
from core.search.records import SearchRecord
from core.search.studies import open_studies
from tests.pages.conftest import PROFILE, open_app

PAGE = "dashboard/spectra.py"
PROFILED = ModelProfile.model_validate(PROFILE)


def searched(store, base: RunConfig, trials: int = 6) -> SearchRecord:
    """A search whose costs fall with what the last block loses."""
    search, sizes = Search(base=base, step=0.2), block_sizes(PROFILED)
    with open_studies(store.home) as studies:
        study = studies.study(search, identify(RunConfig()), sizes)
        study.start_from({"Uniform": dict.fromkeys(sizes, base.sparsity)})
        for _ in range(trials):
            trial = study.ask()
            study.tell(trial.number, 30.0 - trial.sparsities[2])
        return study.record


def captions(app) -> str:
    return " ".join(caption.value for caption in app.caption)


def labels(app) -> list[str]:
    return [box.label for box in app.selectbox]


def test_without_searches_there_is_no_question(store):
    searched(store, RunConfig(model=Hub(id="another/model")))
    app = open_app(PAGE)
    assert not app.exception
    assert "Best of a search" not in labels(app)


def test_the_best_of_a_search_is_drawn_and_used(store, monkeypatch):
    used: list[RunConfig] = []
    monkeypatch.setattr("dashboard.components.plan.open_form", used.append)
    record = searched(store, RunConfig(sparsity=0.6))
    best = record.best
    assert best is not None
    assert best.sparsities[2] > 0.6
    app = open_app(PAGE, studio_search=record.id, studio_target="0.6")
    assert not app.exception
    assert (
        f"perplexity {best.perplexity:.2f} (trial {best.number + 1} of 6); Uniform 29.40. Searched at 0.6."
        in captions(app)
    )
    low, high = min(best.sparsities.values()), max(best.sparsities.values())
    assert f"Best of the search from {low:.1%} to {high:.1%}" in captions(app)
    take = next(one for one in app.segmented_control if one.label == "Take")
    assert take.value == "Best of the search"
    next(button for button in app.button if button.label == "Use in Prune").click().run()
    assert not app.exception
    (config,) = used
    assert config.sparsity == 0.6
    assert config.allocation.sparsities(PROFILED, 0.6) == pytest.approx(
        {module.name: best.sparsities[module.block] for module in PROFILED.modules}
    )


def test_it_is_chosen_from_the_list_and_scaled_to_another_target(store):
    record = searched(store, RunConfig(sparsity=0.6))
    app = open_app(PAGE)
    box = next(box for box in app.selectbox if box.label == "Best of a search")
    assert box.value == "none"
    assert "Best of the search" not in captions(app)
    box.set_value(record.id).run()
    assert not app.exception
    assert app.query_params["studio_search"] == record.id
    assert "Searched at 0.6, here scaled to 0.7." in captions(app)


def test_a_search_that_is_gone_is_said(store):
    app = open_app(PAGE, studio_search="0123456789abcdef")
    assert not app.exception
    assert any("is not there to choose" in warning.value for warning in app.warning)


def test_new_trials_are_seen(store):
    base = RunConfig(sparsity=0.6)
    record = searched(store, base, trials=1)
    app = open_app(PAGE, studio_search=record.id)
    assert "(trial 1 of 1)" in captions(app)
    searched(store, base, trials=3)
    app.run()
    assert "of 4)" in captions(app)
