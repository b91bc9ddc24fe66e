"""Losses over windows, from which the literature's perplexity follows."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from transformers import PreTrainedModel

from core.evaluation import LOGITS_AT_ONCE
from core.evaluation.likelihood import negative_log_likelihood
from core.models.replay import StreamEnd, run_blocks
from core.models.structure import decoder_blocks, slices_logits, text_config


@torch.no_grad()
def token_losses(
    model: PreTrainedModel, windows: Int[torch.Tensor, "n seqlen"], batch_size: int
) -> Iterator[Float[torch.Tensor, "batch predictions"]]:
    """Negative log-likelihood (nats, float32, on the CPU) of each of the ``seqlen - 1`` predictions, batch by batch.

    The blocks run once over a batch, as in the model's own forward; the model then makes logits of a few positions at a time
    (``LOGITS_AT_ONCE``), so that memory does not grow with windows times vocabulary. Families whose forward cannot make
    some of the logits only (``slices_logits``) make all of a batch's at once.
    """
    blocks = decoder_blocks(model)
    for batch in windows.split(batch_size):
        yield losses_at(run_blocks(model, blocks, batch))


def losses_at(end: StreamEnd) -> Float[torch.Tensor, "batch predictions"]:
    """The losses of the predictions that the model makes at the end of its blocks."""
    batch, seqlen = end.tokens.shape
    vocabulary = text_config(end.model.config).vocab_size
    at_once = LOGITS_AT_ONCE // (batch * vocabulary) if slices_logits(end.model) else seqlen
    # The last token predicts what nobody knows.
    chosen = torch.arange(seqlen - 1).split(max(1, at_once))
    return torch.cat([_losses(end, positions) for positions in chosen], dim=1)


def _losses(end: StreamEnd, positions: Int[torch.Tensor, " kept"]) -> Float[torch.Tensor, "batch kept"]:
    logits = end.logits(positions).float()
    targets = end.tokens[:, positions + 1].to(logits.device)
    return negative_log_likelihood(logits, targets).cpu()


def window_losses(losses: Float[torch.Tensor, "n predictions"]) -> list[float]:
    """Each window's mean loss."""
    means: list[float] = losses.double().mean(dim=1).tolist()
    return means
