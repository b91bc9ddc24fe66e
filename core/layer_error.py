"""How far the output of one module moved."""

from __future__ import annotations

from jaxtyping import Float

from core.events import ErrorBasis
from core.lazy import torch
from core.statistics import InputStatistics


def reconstruction_error(
    dense: Float[torch.Tensor, "out in"],
    pruned: Float[torch.Tensor, "out in"],
    stats: InputStatistics,
) -> tuple[float, ErrorBasis]:
    """``|X (W - W')^T| / |X W^T|`` (Frobenius), from the Gram matrix where there is one, else on the sample of tokens."""
    change = dense - pruned
    if "gram" in stats:
        gram = stats["gram"]
        lost = ((change @ gram) * change).sum().clamp(min=0).sqrt()
        whole = ((dense @ gram) * dense).sum().clamp(min=0).sqrt()
        basis: ErrorBasis = "gram"
    else:
        sample = stats["sample"]
        lost, whole = (sample @ change.T).norm(), (sample @ dense.T).norm()
        basis = "sample"
    return (float(lost / whole) if whole > 0 else 0.0), basis
