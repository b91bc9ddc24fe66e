"""RIA: relative importance and activations; and RI, its part without activations."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from pydantic import Field

from core.lazy import torch
from core.methods.base import ScoreMethod
from core.patterns import Group
from core.reference import Reference
from core.statistics import InputStatistics

PLUG_AND_PLAY = Reference(
    key="zhang2024plugandplay",
    title="Plug-and-Play: An Efficient Post-training Pruning Method for Large Language Models",
    authors=(
        "Yingtao Zhang",
        "Haoli Bai",
        "Haokun Lin",
        "Jialin Zhao",
        "Lu Hou",
        "Carlo Vittorio Cannistraci",
    ),
    year=2024,
    venue="International Conference on Learning Representations",
    url="https://openreview.net/forum?id=Tr0lPx9woF",
)


def relative_importance(weight: Float[torch.Tensor, "out in"]) -> Float[torch.Tensor, "out in"]:
    """``|W_ij| / sum_i |W_ij| + |W_ij| / sum_j |W_ij|``: a weight's share of its column and of its row.

    Weights of a column or row that is zero throughout have share 0.
    """
    magnitude = weight.abs()
    column, row = magnitude.sum(dim=0, keepdim=True), magnitude.sum(dim=1, keepdim=True)
    share: torch.Tensor = magnitude / column.where(column > 0, 1)
    return share.addcdiv_(magnitude, row.where(row > 0, 1))


class RI(ScoreMethod):
    """Relative importance alone: RIA with power 0. Needs no calibration text.

    Source: Zhang et al. (ICLR 2024), section 3.1. Deviation: zero rows and columns score 0 (the program's scores are NaN).
    """

    name: ClassVar[str] = "ri"
    title: ClassVar[str] = "RI"
    summary: ClassVar[str] = (
        "Prunes the weights that matter least to their own input and output: each weight counts by its share of its column "
        "plus its share of its row. No input or output channel can lose everything, as it can under magnitude."
    )
    formula: ClassVar[str] = r"S_{ij} = \frac{|W_{ij}|}{\sum_i |W_{ij}|} + \frac{|W_{ij}|}{\sum_j |W_{ij}|}"
    reference: ClassVar[Reference] = PLUG_AND_PLAY
    group: ClassVar[Group] = "layer"

    def score(self, weight: Float[torch.Tensor, "out in"], stats: InputStatistics) -> Float[torch.Tensor, "out in"]:
        return relative_importance(weight)


class RIA(ScoreMethod):
    """``score = RI_ij * a_j^p`` with ``a_j`` the norm of input feature j, compared over the whole matrix.

    Source: Zhang et al. (ICLR 2024), section 3.2. Deviation: zero rows and columns score 0 (the program's scores are NaN).
    """

    name: ClassVar[str] = "ria"
    title: ClassVar[str] = "RIA"
    summary: ClassVar[str] = (
        "Relative importance and activations: a weight's share of its column plus its share of its row, times the norm of "
        "its input raised to a power below one, so that a few very loud inputs do not decide everything."
    )
    formula: ClassVar[str] = (
        r"S_{ij} = \left(\frac{|W_{ij}|}{\sum_i |W_{ij}|} + \frac{|W_{ij}|}{\sum_j |W_{ij}|}\right) \|X_j\|_2^{\,p}"
    )
    reference: ClassVar[Reference] = PLUG_AND_PLAY
    needs: ClassVar[frozenset[str]] = frozenset({"norm"})
    group: ClassVar[Group] = "layer"

    power: float = Field(
        0.5,
        ge=0,
        le=4,
        title="Power p",
        description="Of the input norms: 0 ignores them (RI), 1 weighs them as Wanda does.",
    )

    def score(self, weight: Float[torch.Tensor, "out in"], stats: InputStatistics) -> Float[torch.Tensor, "out in"]:
        return relative_importance(weight) * stats["norm"] ** self.power
