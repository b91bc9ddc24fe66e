"""SparseGPT: pruning with second-order updates."""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from pydantic import Field

from core.lazy import torch
from core.methods.base import Method, Pruned
from core.methods.column_sweep import SweepOptions, Watch, given
from core.patterns import Group, Pattern
from core.reference import Reference
from core.registry import ADVANCED
from core.statistics import InputStatistics


class SparseGPT(SweepOptions, Method):
    """Saliency ``W_ij^2 / [U]_jj^2``, pruned from left to right, each error spread over the columns to its right.

    ``U`` is the upper Cholesky factor of the damped inverse Gram matrix. With ``selection = block`` an unstructured mask
    is chosen per block of columns from the weights as already updated (the comparison group is that block), N:M when each
    group begins; with ``matrix`` the whole mask is chosen first, from the dense weights. Weights on dead inputs are
    zeroed and reported apart from the mask.

    Source: Frantar and Alistarh (arXiv 2301.00774), section 3. Deviation: exact counts in each block.
    """

    name: ClassVar[str] = "sparsegpt"
    title: ClassVar[str] = "SparseGPT"
    summary: ClassVar[str] = (
        "Prunes column by column and updates the remaining weights so that the layer's output changes least, "
        "using the correlations between inputs."
    )
    formula: ClassVar[str] = (
        r"S_{ij} = \frac{W_{ij}^2}{[U]_{jj}^2},\quad U^\top U = (XX^\top + \lambda I)^{-1},\quad "
        r"W_{:,j:} \mathrel{-}= \frac{W_{:,j} - Q_{:,j}}{U_{jj}}\,U_{j,j:}"
    )
    reference: ClassVar[Reference] = Reference(
        key="frantar2023sparsegpt",
        title="SparseGPT: Massive Language Models Can Be Accurately Pruned in One-Shot",
        authors=("Elias Frantar", "Dan Alistarh"),
        year=2023,
        arxiv="2301.00774",
        venue="International Conference on Machine Learning",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"gram"})
    group: ClassVar[Group] = "layer"

    selection: Literal["block", "matrix"] = Field(
        "block",
        title="Mask selection",
        description="block: from the weights as updated when the sweep reaches their block; matrix: all at once, from the dense "
        "weights.",
        json_schema_extra=ADVANCED,
    )

    @property
    def whole_matrix(self) -> bool:
        return self.selection == "matrix"

    @property
    def updates(self) -> bool:
        return True

    def score(self, weight: Float[torch.Tensor, "out in"], stats: InputStatistics) -> Float[torch.Tensor, "out in"]:
        alive = stats["gram"].diagonal() != 0
        return (weight * alive / self.factor(stats).diagonal()).square()

    def apply(
        self, weight: Float[torch.Tensor, "out in"], keep: Bool[torch.Tensor, "out in"], stats: InputStatistics
    ) -> Pruned:
        return self.sweep(weight, stats, given(keep))

    def together(self, pattern: Pattern) -> int | None:
        return None if self.whole_matrix else self.block(pattern.span)

    def prune(
        self,
        weight: Float[torch.Tensor, "out in"],
        stats: InputStatistics,
        pattern: Pattern,
        sparsity: float,
        watch: Watch | None = None,
    ) -> Pruned:
        """Prunes ``weight`` (float32, left as it is) to ``sparsity``; ``watch`` is told of every column."""
        pattern = pattern.resolve(self.group)
        if self.whole_matrix:
            keep = pattern.keep(self.score(weight, stats), sparsity)
            return self.sweep(weight, stats, given(keep), watch=watch)
        return self.sweep(weight, stats, lambda start, saliency: pattern.keep(saliency, sparsity), pattern.span, watch)
