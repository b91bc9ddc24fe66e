"""Magnitude pruning."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float

from core.lazy import torch
from core.methods.base import ScoreMethod
from core.patterns import Group
from core.reference import Reference
from core.statistics import InputStatistics


class Magnitude(ScoreMethod):
    """``score = |W|``, compared over the whole matrix. Needs no calibration text.

    Source: Han et al., "Learning both Weights and Connections" (arXiv 1506.02626), as the Wanda program applies it layer
    by layer. Deviation: exact counts (the program's ``<=`` prunes one weight more, and every tie).
    """

    name: ClassVar[str] = "magnitude"
    title: ClassVar[str] = "Magnitude"
    summary: ClassVar[str] = (
        "Prunes the weights with the smallest absolute value. Knows nothing of the inputs: the baseline every method must beat."
    )
    formula: ClassVar[str] = r"S_{ij} = |W_{ij}|"
    reference: ClassVar[Reference] = Reference(
        key="han2015learning",
        title="Learning both Weights and Connections for Efficient Neural Networks",
        authors=("Song Han", "Jeff Pool", "John Tran", "William J. Dally"),
        year=2015,
        arxiv="1506.02626",
        venue="Advances in Neural Information Processing Systems",
    )
    group: ClassVar[Group] = "layer"

    def score(self, weight: Float[torch.Tensor, "out in"], stats: InputStatistics) -> Float[torch.Tensor, "out in"]:
        return weight.abs()
