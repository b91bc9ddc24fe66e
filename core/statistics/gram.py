"""The Gram matrix of the inputs."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float

from core.lazy import torch
from core.statistics.base import Statistic

_PANEL = 192
"""Rows at a time: few waste products below the diagonal, many waste the processor's larger steps."""


class Gram(Statistic):
    """``H = (2 / n_seq) X^T X``, the Hessian of the layer's squared output error; shape [in, in], float32.

    Source: SparseGPT (arXiv 2301.00774), section 3.1.
    """

    name: ClassVar[str] = "gram"

    def __init__(self, in_features: int, sequences: int, device: torch.device) -> None:
        super().__init__(in_features, sequences, device)
        self._products = torch.zeros(in_features, in_features, device=device)

    def update(self, x: Float[torch.Tensor, "tokens in"]) -> None:
        # The matrix is symmetric: only what lies on and right of the diagonal is multiplied, a panel of rows at a time.
        for start in range(0, self.in_features, _PANEL):
            panel = slice(start, start + _PANEL)
            self._products[panel, start:].addmm_(x[:, panel].T, x[:, start:])

    def finish(self) -> Float[torch.Tensor, "in in"]:
        for start in range(_PANEL, self.in_features, _PANEL):
            rows = slice(start, start + _PANEL)
            self._products[rows, :start] = self._products[:start, rows].T
        return self._products.mul_(2 / self.sequences)
