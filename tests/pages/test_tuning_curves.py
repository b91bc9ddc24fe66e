"""The curves of a tuned run beside its result."""

import pandas as pd
import pytest

from core.config import RunConfig
from core.events import GroupRefined
from core.figures import group_table, summary, tuning_curves
from core.store.artifacts import write_groups
from dashboard.components.charts.tuning import tuning_lines
from tests.pages.conftest import add_run, open_app

EVENTS = [
    GroupRefined(
        block=block,
        group="block",
        stage="tuning",
        report={"held_out_0": 4.0, "held_out_1": low, "held_out_2": 3.5, "held_out_lowest": low}
        | {"training_1": 3.0, "training_2": 2.0},
    )
    for block, low in ((0, 1.0), (1, 2.0), (2, 3.0))
]


def test_a_tuned_run_shows_how_its_blocks_went(store):
    groups = group_table(EVENTS)
    modules = pd.DataFrame({"error": [0.1], "parameters": [1]})
    run = add_run(store, RunConfig(stages=("tuning",)), figures=summary(modules, groups))
    write_groups(store.folder(run.id), groups)
    app = open_app("dashboard/prune.py", run=run.id)
    words = " ".join(str(element.value) for element in app.markdown)
    assert "**Block-wise tuning** changed the blocks' error on held-out windows by -50.0% on average" in words
    assert "Error of the blocks while they were tuned" in [expander.label for expander in app.expander]
    charts = len(app.get("plotly_chart"))
    plain = open_app("dashboard/prune.py", run=add_run(store).id)
    assert charts == len(plain.get("plotly_chart")) + 1


def test_a_line_a_block_from_untuned_to_the_last_epoch():
    figure = tuning_lines(tuning_curves(group_table(EVENTS)))
    assert [trace.name for trace in figure.data] == ["Block 0", "Block 1", "Block 2"]
    assert list(figure.data[1].x) == [0, 1, 2]
    assert list(figure.data[1].y) == pytest.approx([1.0, 0.5, 0.875])
    assert figure.data[1].customdata[1] == "2, training 3"
    assert len({trace.line.color for trace in figure.data}) == 3
    assert figure.layout.xaxis.title.text
    assert figure.layout.yaxis.title.text


def test_a_single_block_has_its_line_too():
    assert len(tuning_lines(tuning_curves(group_table(EVENTS[:1]))).data) == 1
