"""Compiled loops are made ahead of the first run."""

import torch

from core import selection_loops
from core.compiled import compile_ahead, known_compiled
from core.config import RunConfig
from core.engine import prune_model
from core.methods import elimination
from core.stages import channel_groups
from tests.tiny_models import VOCABULARY

LOOPS = [
    elimination.eliminate,
    elimination.eliminate_lowest,
    channel_groups.keep_highest,
    channel_groups.nth_best,
    channel_groups.gains_over,
    selection_loops.mark_rows,
    selection_loops.between,
]


def test_nothing_is_left_to_compile_in_a_run(tiny_model):
    """A run of each kind meets only the signatures that set-up met: else it would wait without a word."""
    compile_ahead()
    assert known_compiled()
    met = [loop.signatures for loop in LOOPS]
    assert all(met)
    tokens = torch.randint(0, VOCABULARY, (2, 12), generator=torch.Generator().manual_seed(2))
    lsa = [{"stage": "reallocation", "lsa": True}]
    for values in (
        {"method": "sparsegpt"},
        {"method": "sparsegpt", "pattern": "2:4"},
        {"method": "wanda", "pattern": "2:4", "stages": lsa},
        {"method": "magnitude", "pattern": "1:4", "stages": [*lsa, "reconstruction"]},
    ):
        config = RunConfig.model_validate({"calibration": {"windows": 2, "seqlen": 12}} | values)
        for _ in prune_model(tiny_model("llama"), config, tokens):
            pass
    assert [loop.signatures for loop in LOOPS] == met
