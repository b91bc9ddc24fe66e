"""Losses over windows, from which the literature's perplexity follows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch.nn import functional
from transformers import PreTrainedModel


@torch.no_grad()
def window_losses(
    model: PreTrainedModel, windows: Int[torch.Tensor, "n seqlen"], batch_size: int
) -> Iterator[list[float]]:
    """Mean negative log-likelihood (nats) over the ``seqlen - 1`` predictions of each window, batch by batch."""
    for batch in windows.split(batch_size):
        tokens = batch.to(model.device)
        yield batch_losses(model(input_ids=tokens, use_cache=False).logits, tokens)


def batch_losses(
    logits: Float[torch.Tensor, "batch seqlen vocabulary"], tokens: Int[torch.Tensor, "batch seqlen"]
) -> list[float]:
    """Each window's mean negative log-likelihood (nats) over its ``seqlen - 1`` predictions."""
    return [
        float(functional.cross_entropy(row[:-1].float(), target[1:]))
        for row, target in zip(logits, tokens, strict=True)
    ]
