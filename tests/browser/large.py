"""A finished run of one module as large as those of a 7B model, its scores known; nothing was pruned for it."""

import pandas as pd
import torch

from core.config import Calibration, RunConfig, identify
from core.evaluation.result import perplexity
from core.measurements.scores import Scores, inputs_file
from core.methods.magnitude import Magnitude
from core.methods.wanda import Wanda
from core.patterns import Unstructured
from core.scoring.scored import scored
from core.statistics import InputStatistics
from core.store import Run, RunResult, Store
from core.store.artifacts import Artifacts, pack

ROWS, COLUMNS = 4096, 11008
LABEL = "mlp.down_proj"
MODULE = f"model.layers.0.{LABEL}"


def add_large_run(store: Store) -> Run:
    config = RunConfig(method=Wanda(), calibration=Calibration(seed=4096))
    attempt, _ = store.submit(config, identify(config))
    store.start(attempt.id)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(ROWS, COLUMNS, generator=generator)
    norm = torch.rand(COLUMNS, generator=generator).exp()
    stats = InputStatistics({"norm": norm})
    found = {method: scored(method, weight, stats, Unstructured(), 0.5, None) for method in (Wanda(), Magnitude())}
    row = {
        "module": MODULE, "block": 0, "label": LABEL, "rows": ROWS, "columns": COLUMNS,
        "parameters": ROWS * COLUMNS, "target": 0.5, "pruned": ROWS * COLUMNS // 2, "sparsity": 0.5, "dead_inputs": 0,
        "error": 0.1, "error_basis": "sample", "updated": False, "seconds": 0.1,
    }  # fmt: skip
    result = RunResult(
        dense_perplexity=perplexity([3.0, 3.2], 256),
        perplexity=perplexity([4.0, 4.2], 256),
        target_sparsity=0.5,
        pruned=ROWS * COLUMNS // 2,
        parameters=ROWS * COLUMNS,
        dense_bytes=4 * ROWS * COLUMNS,
        bitmask_bytes=3 * ROWS * COLUMNS,
        evaluated_on="random numbers",
        calibrated_on="random numbers",
        prune_seconds=1.0,
        seconds=2.0,
        warnings=(),
    )
    masks = {MODULE: pack(found[Wanda()].keep)}
    store.finish(attempt.id, result, Artifacts(pd.DataFrame([row]), pd.DataFrame(), masks, {}, {}))
    run = store.run(attempt.run_id)
    inputs = {f"weight of {MODULE}": weight, f"norm of {MODULE}": norm}
    store.keep_tensors(run.id, inputs_file(0), inputs, {"statistics": ["norm"], "sources": {MODULE: MODULE}})
    for method, one in found.items():
        kept, scores = {}, Scores.of_run(run, block=0, method=method)
        if one.scores is not None:
            kept[f"scores of {MODULE}"] = one.scores.contiguous()
        if not scores.of_the_run(run):
            kept[f"keep of {MODULE}"] = pack(one.keep)
        store.keep_tensors(run.id, scores.file, kept, {MODULE: one.facts.model_dump(mode="json")})
    return run
