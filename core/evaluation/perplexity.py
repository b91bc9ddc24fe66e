"""Perplexity over windows, as the literature computes it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel
from torch.nn import functional
from transformers import PreTrainedModel


class Perplexity(BaseModel, frozen=True):
    """``value = exp(mean loss)``, every window weighing the same; ``losses`` holds each window's mean loss in nats.

    ``standard_error`` is that of the perplexity, from the spread of the windows' losses (delta method); None for a single
    window.
    """

    value: float
    standard_error: float | None
    seqlen: int
    losses: tuple[float, ...]

    @property
    def windows(self) -> int:
        return len(self.losses)

    @property
    def tokens(self) -> int:
        """Predictions made: the first token of each window is given, not predicted."""
        return self.windows * (self.seqlen - 1)


@torch.no_grad()
def window_losses(
    model: PreTrainedModel, windows: Int[torch.Tensor, "n seqlen"], batch_size: int
) -> Iterator[list[float]]:
    """Mean negative log-likelihood (nats) over the ``seqlen - 1`` predictions of each window, batch by batch."""
    for batch in windows.split(batch_size):
        tokens = batch.to(model.device)
        logits = model(input_ids=tokens, use_cache=False).logits
        yield [
            float(functional.cross_entropy(row[:-1].float(), target[1:]))
            for row, target in zip(logits, tokens, strict=True)
        ]


def perplexity(losses: Float[torch.Tensor, " n"] | list[float], seqlen: int) -> Perplexity:
    """The perplexity of windows with these mean losses."""
    values = [float(loss) for loss in losses]
    mean = math.fsum(values) / len(values)
    # A broken model can reach losses beyond exp's range; its perplexity is then infinite, and said so.
    value = math.exp(mean) if mean < 700 else math.inf
    error = None
    if len(values) > 1 and math.isfinite(value):
        variance = math.fsum((loss - mean) ** 2 for loss in values) / (len(values) - 1)
        error = value * math.sqrt(variance / len(values))
    return Perplexity(value=value, standard_error=error, seqlen=seqlen, losses=tuple(values))
