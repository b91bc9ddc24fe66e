"""How good the pruned weights are: our own perplexity of what each program left, on the same windows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from core.config import RunConfig
from core.evaluating import evaluation_tokens
from core.evaluation.perplexity import token_losses, window_losses
from core.evaluation.result import perplexity
from core.models.sources import Embedded


class Judge:
    """Losses by program, of the work looked at last. The model is loaded when it is first needed."""

    def __init__(self, config: RunConfig) -> None:
        self._evaluation = config.evaluation
        self._losses: dict[str, list[float]] = {}

    def look_at(self, files: Mapping[str, Path]) -> None:
        source = Embedded()
        windows, model = evaluation_tokens(self._evaluation, source), source.load().model
        known = model.state_dict()
        self._losses = {}
        for program, file in files.items():
            for name, weight in load_file(file).items():
                known[name].copy_(weight)
            losses = torch.cat([*token_losses(model, windows, self._evaluation.batch_size)])
            self._losses[program] = window_losses(losses)

    def perplexity(self, program: str) -> str:
        found = perplexity(self._losses[program], self._evaluation.seqlen)
        return f"{found.value:.2f} ± {found.standard_error:.2f}"

    def difference(self, program: str, ours: str) -> str:
        """Of the mean losses, window by window: above zero where ours is better."""
        paired = torch.tensor(self._losses[program]) - torch.tensor(self._losses[ours])
        error = float(paired.std()) / len(paired) ** 0.5
        return f"{float(paired.mean()):+.4f} ± {error:.4f}"
