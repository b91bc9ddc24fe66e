"""The Wanda variant: each row loses as many weights as fit into the same share of its score."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Bool, Float

from core.errors import InputError
from core.lazy import torch
from core.methods.base import Method, Pruned
from core.methods.wanda import SUN, wanda_score
from core.patterns import Group, Pattern, Unstructured
from core.reference import Reference
from core.statistics import InputStatistics

_FIRST, _LOW, _HIGH = 0.4, 0.0, 0.8
_TOLERANCE = 0.001


def prune_share(scores: Float[torch.Tensor, "out in"], share: float) -> Bool[torch.Tensor, "out in"]:
    """Marks, in each row, the lowest scores whose sum stays within ``share`` of the row's total."""
    order = scores.argsort(dim=1, stable=True)
    cumulated = scores.gather(1, order).cumsum(dim=1)
    within = cumulated <= scores.sum(dim=1, keepdim=True) * share
    return torch.zeros_like(within).scatter(1, order, within)


def prune_adaptively(
    scores: Float[torch.Tensor, "out in"], sparsity: float
) -> tuple[Bool[torch.Tensor, "out in"], float]:
    """(pruned, share): bisects the share in [0, 0.8] until the sparsity is within 0.001, or the interval below 0.001."""
    low, high, share = _LOW, _HIGH, _FIRST
    pruned = prune_share(scores, share)
    while abs((reached := float(pruned.float().mean())) - sparsity) > _TOLERANCE and high - low >= _TOLERANCE:
        if reached > sparsity:
            high, share = share, (share + low) / 2
        else:
            low, share = share, (share + high) / 2
        pruned = prune_share(scores, share)
    return pruned, share


class WandaVariant(Method):
    """Wanda's score; per row, the lowest go as long as their sum stays within a share of the row's total.

    The share is the same for all rows, found by bisection so that the matrix reaches the target to about 0.001: the one
    method without exact counts. Source: Sun et al. (arXiv 2306.11695), appendix; the authors' program
    (``--use_variant``).
    """

    name: ClassVar[str] = "wanda_variant"
    title: ClassVar[str] = "Wanda variant"
    summary: ClassVar[str] = (
        "Wanda with adaptive thresholds: each row loses the weights that together hold the same share of its score, so rows "
        "with many small scores lose more. It meets the target sparsity only to about 0.1 %, and only unstructured."
    )
    formula: ClassVar[str] = (
        r"\text{row } i \text{ loses the lowest } S_{ij} = |W_{ij}|\,\|X_j\|_2 \text{ with } "
        r"\textstyle\sum S_{ij} \le \alpha \sum_j S_{ij}"
    )
    reference: ClassVar[Reference] = SUN
    needs: ClassVar[frozenset[str]] = frozenset({"norm"})
    group: ClassVar[Group] = "output"
    exact: ClassVar[bool] = False

    def check(self, pattern: Pattern) -> None:
        if not isinstance(pattern, Unstructured) or pattern.group not in ("auto", "output"):
            raise InputError(
                f"method = {self.name} does not support pattern = {pattern.label}: its rows lose as many weights as they can "
                "spare; choose the unstructured pattern by output, or method wanda."
            )

    def prune(
        self,
        weight: Float[torch.Tensor, "out in"],
        stats: InputStatistics,
        pattern: Pattern,
        sparsity: float,
    ) -> Pruned:
        self.check(pattern)
        scores = wanda_score(weight, stats["norm"])
        if scores.isnan().any():
            raise InputError(
                "The scores hold values that are not numbers; the model's weights or inputs are broken (NaN)."
            )
        keep = ~prune_adaptively(scores, sparsity)[0] if sparsity else torch.ones_like(weight, dtype=torch.bool)
        return Pruned.masked(weight, keep)
