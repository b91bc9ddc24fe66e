"""Zero-shot accuracy of the embedded model, dense and pruned, against lm-evaluation-harness's own run on the same files."""

from pathlib import Path

import pytest
import torch

from core.evaluation.harness import Scorer, accuracy
from core.evaluation.task_data import task_data
from core.execution import drain
from core.models.sources import Embedded
from core.models.structure import decoder_blocks
from tests.zero_shot_oracle import harness_results

DATA = Path(__file__).parents[3] / "shared" / "data" / "tasks"
LIMITS = {"arc_easy": 3, "mnli": 5, "winogrande": 4}  # the quick ones of the seven

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"the shared tasks are not at {DATA}"),
]


@pytest.mark.parametrize("pruned", [False, True], ids=["dense", "pruned"])
def test_the_embedded_models_accuracy_is_the_harnesss(pruned, tmp_path):
    loaded = Embedded().load()
    if pruned:
        with torch.no_grad():
            for block in decoder_blocks(loaded.model):
                for module in block.modules.values():
                    size = module.weight.abs()
                    module.weight *= size > size.flatten().kthvalue(size.numel() // 2).values
    scorer = Scorer(loaded, batch_size=4)
    for name, limit in LIMITS.items():
        data = task_data(name, str(DATA))
        fingerprint = data.fingerprint()
        steps = accuracy(data.load(fingerprint), scorer, limit, data.label, fingerprint)
        found = drain(steps, lambda event: None)
        theirs = harness_results(loaded, [name], DATA, tmp_path, limit, batch_size=4)[name]
        assert found.model_dump(include={*theirs}) == theirs
        assert found.documents == limit
        assert found.available == 200
        print(f"{name}: {found.accuracy:.3f} of {found.documents} in {found.seconds:.1f} s")
