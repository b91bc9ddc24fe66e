"""ADMM, DSnoT and block-wise tuning on the Prune page's form."""

from core.config import RunConfig
from core.methods.admm import ADMM
from core.stages.admm import ADMMUpdate
from core.stages.dsnot import DSnoT
from core.stages.tuning import Tuning
from dashboard.components import plan
from tests.pages.conftest import open_app


def test_method_and_stages_come_with_their_address_and_can_be_submitted(store, submitted):
    wanted = RunConfig(
        method=ADMM(iterations=9), stages=(DSnoT(cycles=7), Tuning(epochs=3, target="sparse")), sparsity=0.6
    )
    app = open_app("dashboard/prune.py", **plan.address(wanted))
    assert not app.error, [error.value for error in app.error]
    next(button for button in app.button if button.label == "Start").click().run()
    assert not app.exception
    (config,) = submitted
    assert (config.method, config.stages, config.sparsity) == (wanted.method, wanted.stages, wanted.sparsity)


def test_what_does_not_go_together_is_said(store):
    values = plan.address(RunConfig(stages=(ADMMUpdate(),)))
    app = open_app("dashboard/prune.py", **(values | {"method": "ADMM"}))
    said = " ".join(str(element.value) for kind in ("error", "warning") for element in app.get(kind))
    assert "stage = admm does not go with method = admm" in said
