"""Products of a matrix with itself, which are symmetric: only one half is multiplied."""

from __future__ import annotations

from jaxtyping import Float

from core.lazy import torch

_PANEL = 192
"""Rows at a time: few waste products below the diagonal, many waste the processor's larger steps."""


def add_square(sums: Float[torch.Tensor, "in in"], x: Float[torch.Tensor, "tokens in"], alpha: float = 1.0) -> None:
    """Adds ``alpha x^T x`` to what lies on and right of the diagonal; what is left of it is of no meaning until ``mirror``."""
    for start in range(0, x.shape[1], _PANEL):
        panel = slice(start, start + _PANEL)
        sums[panel, start:].addmm_(x[:, panel].T, x[:, start:], alpha=alpha)


def mirror(sums: Float[torch.Tensor, "in in"]) -> None:
    """Puts what lies right of the diagonal left of it too."""
    for start in range(_PANEL, len(sums), _PANEL):
        rows = slice(start, start + _PANEL)
        sums[rows, :start] = sums[:start, rows].T
