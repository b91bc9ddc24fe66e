"""Compiled loops: made ahead of the first run, and worked through in parts."""

import pytest
import torch

from core.compiled import compile_ahead, in_parts, known_compiled
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
]


def test_nothing_is_left_to_compile_in_a_run(tiny_model):
    """A run of each kind meets only the signatures that set-up met: else it would wait without a word."""
    compile_ahead()
    assert known_compiled()
    met = [loop.signatures for loop in LOOPS]
    assert all(len(signatures) == 1 for signatures in met)
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


def test_parts_cover_everything_once(monkeypatch):
    for threads in (1, 2, 3, 7):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        seen = [0] * 10

        def loop(start, stop, seen=seen):
            for i in range(start, stop):
                seen[i] += 1

        in_parts(loop, 10)
        assert seen == [1] * 10


def test_an_error_in_a_part_is_raised(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def loop(start, stop):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        in_parts(loop, 4)
