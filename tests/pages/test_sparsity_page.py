"""The Sparsity page: what its charts hold, and what it says of N:M and of sizes."""

import json

import pytest

from core.config import RunConfig
from core.patterns import NM
from dashboard.components import cache
from tests.pages.conftest import add_run, open_app

PAGE = "dashboard/sparsity.py"


def chart(app, key: str) -> dict:
    return next(json.loads(one.proto.spec) for one in app.get("plotly_chart") if key in one.proto.id)


def words(app) -> str:
    return " ".join(caption.value for caption in app.caption)


def test_the_table_holds_what_the_masks_look_like(store, run):
    table = cache.structure(run, 2, 4)
    assert table.empty_inputs.tolist() == [4] * 6
    assert table.empty_outputs.tolist() == [0] * 6
    assert table.fitting.tolist() == [0.5] * 6  # the left group of four keeps all, the right one none


def test_a_model_that_does_not_fit_says_so_and_has_no_such_bar(store, run):
    app = open_app(PAGE, run=run.id)
    assert "As 2:4 it cannot be stored: 0 of 6 modules" in words(app)
    assert chart(app, "forms")["data"][0]["y"] == ["dense", "bitmask", "CSR"]
    assert "50.00% of its groups fit 2:4" in words(app)


def test_the_runs_own_pattern_is_looked_for(store):
    run = add_run(store, RunConfig(pattern=NM(n=4, m=8), sparsity=0.5))
    app = open_app(PAGE, run=run.id)
    assert "Every group of 8 inputs has at most 4 survivors: 4:8." in words(app)
    sizes = dict(zip(*(chart(app, "forms")["data"][0][axis] for axis in ("y", "x")), strict=True))
    assert sizes == pytest.approx(
        {
            "dense": 1536 / 1e6,
            "bitmask": 816 / 1e6,
            "CSR": 6 * (32 * 8 + 9 * 4) / 1e6,
            "4:8": 6 * (32 * 4 + 32 * 3 / 8) / 1e6,
        }
    )


@pytest.mark.parametrize("column", ["missed", "error", "fitting", "empty_outputs", "empty_inputs", "dead_inputs"])
def test_the_colour_of_a_link_is_kept(store, run, column):
    app = open_app(PAGE, run=run.id, colour=column)
    assert app.segmented_control(key="colour").value == column


def test_targets_of_one_block_and_over_depth(store, run):
    app = open_app(PAGE, run=run.id, block="1", module="mlp.down_proj", targets="block")
    assert chart(app, "sparsity_bars")["data"][0]["x"] == ["self_attn.q_proj", "mlp.down_proj"]
    app = open_app(PAGE, run=run.id, block="1", module="mlp.down_proj", targets="depth")
    assert chart(app, "sparsity_bars")["data"][0]["x"] == ["0", "1", "2"]


def test_a_choice_that_is_not_there_says_so(store, run):
    app = open_app(PAGE, run=run.id, colour="spasity")
    assert any("Colour shows = 'spasity' in the link" in warning.value for warning in app.warning)
    assert app.segmented_control(key="colour").value == "sparsity"


def test_a_choice_is_kept_while_another_page_is_open(store, run):
    app = open_app(PAGE, run=run.id)
    app.segmented_control(key="colour").set_value("error").run()
    assert app.query_params["colour"] in ("error", ["error"])
    app.switch_page("dashboard/runs.py").run()
    app.switch_page(PAGE).run()
    assert app.segmented_control(key="colour").value == "error"
