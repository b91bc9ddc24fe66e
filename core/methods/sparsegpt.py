"""SparseGPT: pruning with second-order updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from jaxtyping import Bool, Float
from pydantic import Field

from core.lazy import torch
from core.methods.base import Method, Pruned
from core.methods.column_sweep import Choose, LowestOfEach, SweepOptions, Watch, given
from core.patterns import NM, Group, Pattern
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
    joint: ClassVar[bool] = True

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
        (pruned,) = self.prune_joint([weight], stats, [pattern], [sparsity], watch)
        return pruned

    def prune_joint(
        self,
        weights: Sequence[Float[torch.Tensor, "_ in"]],
        stats: InputStatistics,
        patterns: Sequence[Pattern],
        sparsities: Sequence[float],
        watch: Watch | None = None,
    ) -> list[Pruned]:
        """One sweep over all rows: a row's errors go along the row, so only the masks know where a matrix ends."""
        heights = [len(weight) for weight in weights]
        patterns = [pattern.resolve(self.group) for pattern in patterns]

        def chosen(start: int, scores: torch.Tensor) -> torch.Tensor:
            parts = zip(scores.split(heights), patterns, sparsities, strict=True)
            return torch.cat([pattern.keep(part, sparsity) for part, pattern, sparsity in parts])

        choose: Choose = chosen
        span = patterns[0].span
        if self.whole_matrix:
            choose, span = given(chosen(0, self.score(torch.cat([*weights]), stats))), None
        elif isinstance(nm := patterns[0], NM) and len({*patterns}) == 1:
            choose = LowestOfEach(drop=nm.m - nm.n, m=nm.m)
        return self.sweep_joint(weights, stats, choose, span, watch)
