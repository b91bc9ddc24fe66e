"""The checks of shapes that tests/conftest.py installs are really on."""

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from core.config import RunConfig
from core.data.windows import evaluation_windows
from core.engine import prune_model
from core.evaluation.perplexity import token_losses
from core.layer_error import reconstruction_error
from core.methods.column_sweep import inverse_factor
from core.methods.ria import RIA
from core.methods.wanda import Wanda
from core.models.structure import write_weight
from core.patterns import Unstructured
from core.statistics import STATISTICS, InputStatistics

EMPTY = InputStatistics({})
WRONG = {
    "one axis for two": lambda: Unstructured(group="layer").keep(torch.ones(3), 0.5),
    "integers for floats": lambda: Wanda().score(torch.ones(3, 4, dtype=torch.int64), EMPTY),
    "not square": lambda: inverse_factor(torch.ones(3, 4), 0.1),
    "two shapes that should agree": lambda: reconstruction_error(torch.ones(3, 4), torch.ones(4, 3), torch.ones(2, 4)),
    "two axes for one, in NumPy": lambda: evaluation_windows(np.ones((4, 8), dtype=np.int32), None, 8),
    "a statistic": lambda: STATISTICS["norm"](4, 1, torch.device("cpu")).update(torch.ones(4)),
    "a weight": lambda: write_weight(torch.nn.Linear(2, 2), torch.ones(4)),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_a_wrong_shape_is_refused(call):
    with pytest.raises(TypeCheckError):
        call()


def test_a_wrong_shape_is_refused_where_a_generator_takes_it(tiny_model):
    model, line = tiny_model("llama"), torch.ones(24, dtype=torch.int64)
    for run in (token_losses(model, line, 1), prune_model(model, RunConfig(), line)):
        with pytest.raises(TypeCheckError):
            next(run)


def test_a_result_of_the_wrong_shape_is_refused():
    with pytest.raises(TypeCheckError, match="return value"):
        RIA().score(torch.ones(3, 4), InputStatistics({"norm": torch.ones(2, 3, 4)}))
