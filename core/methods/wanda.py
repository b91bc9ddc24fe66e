"""Wanda: pruning by weights and activations."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float

from core.lazy import torch
from core.methods.base import ScoreMethod
from core.patterns import Group
from core.statistics import InputStatistics


class Wanda(ScoreMethod):
    """``score_ij = |W_ij| * a_j`` with ``a_j`` the norm of input feature j, compared within each output row.

    Source: Sun et al. (arXiv 2306.11695), section 3.
    """

    name: ClassVar[str] = "wanda"
    title: ClassVar[str] = "Wanda"
    summary: ClassVar[str] = (
        "Prunes the weights whose magnitude times the norm of their input is smallest, row by row. "
        "Small weights on loud inputs survive; large weights on quiet inputs go."
    )
    reference: ClassVar[str] = "Sun et al., 2023, arXiv 2306.11695"
    needs: ClassVar[frozenset[str]] = frozenset({"norm"})
    group: ClassVar[Group] = "output"

    def score(self, weight: Float[torch.Tensor, "out in"], stats: InputStatistics) -> Float[torch.Tensor, "out in"]:
        return weight.abs() * stats["norm"]
