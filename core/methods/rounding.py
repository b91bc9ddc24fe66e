"""Rounding weights to a b-bit grid, row by row or group by group."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float

from core.lazy import torch


class Grid(NamedTuple):
    """For each row the ``2^bits`` values ``scale * (q - zero)``, q = 0 … 2^bits - 1; 0 is always one of them."""

    scale: torch.Tensor
    zero: torch.Tensor
    levels: int

    def round(self, values: Float[torch.Tensor, " out"]) -> Float[torch.Tensor, " out"]:
        """Each row's value as its grid's nearest."""
        steps = (values / self.scale).round().add(self.zero).clamp(0, self.levels)
        return self.scale * (steps - self.zero)


def fit_grid(weights: Float[torch.Tensor, "out columns"], bits: int, symmetric: bool) -> Grid:
    """The grid that spans each row's smallest to largest weight (and 0); symmetric: as far below 0 as above.

    Source: the round-to-nearest grids of GPTQ (arXiv 2210.17323), which SparseGPT (section 3.5) rounds to as it prunes.
    """
    levels = 2**bits - 1
    low, high = weights.amin(dim=1).clamp(max=0), weights.amax(dim=1).clamp(min=0)
    if symmetric:
        high = torch.maximum(-low, high)
        low = -high
    span = high - low
    scale = span.where(span > 0, 1) / levels
    zero = torch.full_like(scale, (levels + 1) / 2) if symmetric else (-low / scale).round()
    return Grid(scale, zero, levels)
