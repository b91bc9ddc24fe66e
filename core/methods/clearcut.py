"""ClearCut: relative importance with an interaction of row and column."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from pydantic import Field

from core.lazy import torch
from core.methods.base import ScoreMethod
from core.patterns import Group
from core.reference import Reference
from core.registry import ADVANCED
from core.statistics import InputStatistics


class ClearCut(ScoreMethod):
    """``(|W_ij| / c_j + |W_ij| / r_i + lambda * W_ij^2 / (r_i c_j)) * a_j^p``, compared within each output row.

    ``r_i = sum_j |W_ij| + eps`` and ``c_j = sum_i |W_ij| + eps``; ``a_j`` is the norm of input feature j. Source: the
    ClearCut program. Deviation: its "2:4" keeps half of each row anywhere; here N:M holds in every group.
    """

    name: ClassVar[str] = "clearcut"
    title: ClassVar[str] = "ClearCut"
    summary: ClassVar[str] = (
        "RIA's shares of row and column, compared within each row, with one term more: the product of both shares, which "
        "favours weights that matter to their input and to their output at once."
    )
    formula: ClassVar[str] = (
        r"S_{ij} = \left(\frac{|W_{ij}|}{c_j} + \frac{|W_{ij}|}{r_i} + \lambda\,\frac{W_{ij}^2}{r_i\,c_j}\right) "
        r"\|X_j\|_2^{\,p},\quad r_i = \sum_j |W_{ij}| + \varepsilon,\; c_j = \sum_i |W_{ij}| + \varepsilon"
    )
    reference: ClassVar[Reference] = Reference(
        key="islam2025clearcut",
        title="ClearCut Pruning: Efficient Weight Refinement for LLM Compression",
        authors=("Fahim Islam",),
        year=2025,
        url="https://github.com/cRED-f/ClearCut-Pruning-Efficient-Weight-Refinement-for-LLM-Compression",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"norm"})
    group: ClassVar[Group] = "output"

    interaction: float = Field(
        0.1,
        ge=0,
        le=10,
        title="Interaction λ",
        description="Weight of the term in which the shares of row and column multiply.",
    )
    power: float = Field(0.5, ge=0, le=4, title="Power p", description="Of the input norms: 0 ignores them.")
    epsilon: float = Field(
        1e-8,
        gt=0,
        le=1,
        title="Epsilon ε",
        description="Added to the sums of rows and columns, so that none is zero.",
        json_schema_extra=ADVANCED,
    )

    def score(self, weight: Float[torch.Tensor, "out in"], stats: InputStatistics) -> Float[torch.Tensor, "out in"]:
        magnitude = weight.abs()
        by_column = magnitude / (magnitude.sum(dim=0, keepdim=True) + self.epsilon)
        by_row = magnitude / (magnitude.sum(dim=1, keepdim=True) + self.epsilon)
        return (by_column + by_row + self.interaction * by_column * by_row) * stats["norm"] ** self.power
