"""llm-compressor's modifiers. Wanda and SparseGPT run through ``oneshot`` and its sequential pipeline.

The magnitude modifier has no effect in ``oneshot``: it makes masks and applies them when a training step ends. So its session
is given the events of one step, as a training loop would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from llmcompressor import oneshot
from llmcompressor.core import EventType, active_session
from llmcompressor.modifiers.pruning import MagnitudePruningModifier, SparseGPTModifier, WandaPruningModifier
from torch.utils.data import DataLoader

from benchmarks.peers.driver import Job, answer_pruned, batches, load, measured

PATTERNS = {"50%": "0:0", "2:4": "2:4"}
_MODULES = "re:.*layers.*_proj$"


def main() -> None:
    job = Job.given()
    method, pattern = job.work.split()
    model = load(job)
    if method == "magnitude":
        work = _magnitude(model)
    else:
        modifier = {"wanda": WandaPruningModifier, "sparsegpt": SparseGPTModifier}[method]
        recipe = modifier(sparsity=0.5, mask_structure=PATTERNS[pattern], targets=["Linear"], ignore=["lm_head"])
        work = _one_shot(model, recipe, batches(job))
    _, seconds, peak = measured(job, work)
    answer_pruned(job, model, seconds, peak, ["llmcompressor", "compressed-tensors"])


def _one_shot(model: Any, recipe: Any, tokens: list[torch.Tensor]) -> Callable[[], Any]:
    size, windows = len(tokens[0]), [*torch.cat(tokens)]

    def together(rows: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        ids = torch.stack(rows)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    loader: Any = DataLoader(windows, batch_size=size, collate_fn=together)  # type: ignore[arg-type]  # a list will do
    return lambda: oneshot(
        model=model, dataset=loader, recipe=recipe, num_calibration_samples=len(windows), batch_size=size
    )


def _magnitude(model: Any) -> Callable[[], Any]:
    recipe = MagnitudePruningModifier(
        targets=[_MODULES], init_sparsity=0.5, final_sparsity=0.5, start=0.0, end=1.0, update=1.0
    )

    def work() -> None:
        session = active_session()
        session.reset()
        session.initialize(model=model, recipe=recipe, start=0)
        for event in (EventType.BATCH_START, EventType.OPTIM_PRE_STEP, EventType.OPTIM_POST_STEP):
            session.event(event)
        session.finalize()

    return work


if __name__ == "__main__":
    main()
