"""How far the output of one module moved."""

from __future__ import annotations

from jaxtyping import Float

from core.lazy import torch


def reconstruction_error(
    dense: Float[torch.Tensor, "out in"], pruned: Float[torch.Tensor, "out in"], x: Float[torch.Tensor, "tokens in"]
) -> float:
    """``|X (W - W')^T| / |X W^T|`` (Frobenius); 0 where the dense output is 0."""
    output = x @ dense.T
    lost, whole = (output - x @ pruned.T).norm(), output.norm()
    return float(lost / whole) if whole > 0 else 0.0
