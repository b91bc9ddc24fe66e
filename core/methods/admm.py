"""ADMM: masks chosen little by little while the survivors make up for what is gone."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Bool, Float

from core.lazy import torch
from core.methods.base import Method, Pruned
from core.methods.masked_least_squares import ADMMOptions
from core.patterns import Group, Pattern
from core.reference import Reference
from core.statistics import InputStatistics

BOZA = Reference(
    key="boza2024admm",
    title="Fast and Effective Weight Update for Pruned Large Language Models",
    authors=("Vladimír Boža",),
    year=2024,
    arxiv="2401.02938",
    venue="Transactions on Machine Learning Research",
)


class ADMM(ADMMOptions, Method):
    """``min |X (W - Z)^T|^2`` over weights Z under a mask that is chosen while ADMM iterates.

    Inputs are scaled to norm 1, so that ``|w|`` is Wanda's score; ``(G + rho I)^-1`` is made once per distinct input. In
    iteration t of T the mask prunes ``s - s (1 - t / T)^3`` of each row, the lowest ``|W + U|`` (under N:M and other patterns:
    of those that the pattern would prune). Weights on dead inputs are zeroed and reported apart.

    Source: Boža (arXiv 2401.02938), sections 3.1 to 3.3. Deviations: weights compete within each row, as Wanda's do, where
    the program compares the whole matrix unless told otherwise; the last mask is exact in every comparison group; ADMM is
    over-relaxed by 1.6, with which 5 iterations find masks as good as 8 without; a few steps of conjugate gradients under
    the final mask take the place of the iterations with a fixed one, since they reach the same optimum with fewer products;
    damping is 0.01 (the program: 0.1), which keeps that optimum nearer to the plain least squares.
    """

    name: ClassVar[str] = "admm"
    title: ClassVar[str] = "ADMM"
    summary: ClassVar[str] = (
        "Prunes a little more in every iteration, and lets all surviving weights of a row move at once so that the layer's output "
        "changes least. Unlike SparseGPT, which goes from left to right and never looks back, it reaches the best survivors "
        "for its mask."
    )
    formula: ClassVar[str] = (
        r"Z = M \odot (W + U),\quad U \mathrel{+}= W - Z,\quad "
        r"W = \left(W_0\, G + \rho\,(Z - U)\right)(G + \rho I)^{-1},\quad G = X^\top X,\ \operatorname{diag} G = 1"
    )
    reference: ClassVar[Reference] = BOZA
    needs: ClassVar[frozenset[str]] = frozenset({"gram"})
    group: ClassVar[Group] = "output"

    @property
    def updates(self) -> bool:
        return True

    def apply(
        self, weight: Float[torch.Tensor, "out in"], keep: Bool[torch.Tensor, "out in"], stats: InputStatistics
    ) -> Pruned:
        return self.updated(weight, keep, stats)

    def prune(
        self,
        weight: Float[torch.Tensor, "out in"],
        stats: InputStatistics,
        pattern: Pattern,
        sparsity: float,
    ) -> Pruned:
        return self.pruned(weight, stats, pattern.resolve(self.group), sparsity)
