"""What a token costs a model that predicted it."""

from __future__ import annotations

from jaxtyping import Float, Int

from core.lazy import torch


def negative_log_likelihood(
    logits: Float[torch.Tensor, "*tokens vocabulary"], targets: Int[torch.Tensor, "*tokens"]
) -> Float[torch.Tensor, "*tokens"]:
    """``-log softmax(logits)[target]``, in nats."""
    # torch's cross_entropy adds up so many exponentials with a bias: 7e-6 nats too little for 49,152, logsumexp 1e-9.
    return logits.logsumexp(dim=-1) - logits.gather(-1, targets[..., None])[..., 0]
