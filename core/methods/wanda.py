"""Wanda: pruning by weights and activations."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float

from core.lazy import torch
from core.methods.base import ScoreMethod
from core.patterns import Group
from core.reference import Reference
from core.statistics import InputStatistics

SUN = Reference(
    key="sun2024wanda",
    title="A Simple and Effective Pruning Approach for Large Language Models",
    authors=("Mingjie Sun", "Zhuang Liu", "Anna Bair", "J. Zico Kolter"),
    year=2024,
    arxiv="2306.11695",
    venue="International Conference on Learning Representations",
)


def wanda_score(
    weight: Float[torch.Tensor, "out in"], norm: Float[torch.Tensor, " in"]
) -> Float[torch.Tensor, "out in"]:
    """``|W_ij| * a_j``."""
    return weight.abs() * norm


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
    formula: ClassVar[str] = r"S_{ij} = |W_{ij}| \cdot \|X_j\|_2"
    reference: ClassVar[Reference] = SUN
    needs: ClassVar[frozenset[str]] = frozenset({"norm"})
    group: ClassVar[Group] = "output"

    def score(self, weight: Float[torch.Tensor, "out in"], stats: InputStatistics) -> Float[torch.Tensor, "out in"]:
        return wanda_score(weight, stats["norm"])

    def working(self, weight: float, norm: float) -> str:
        return f"|w| = {abs(weight):.3g} × norm {norm:.3g}"
