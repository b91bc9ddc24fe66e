"""Reconstruction: SparseGPT's update of the survivors for a mask that is given."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from jaxtyping import Float

from core.errors import InputError
from core.lazy import torch
from core.methods.base import Method, Pruned
from core.methods.column_sweep import SweepOptions, given
from core.methods.sparsegpt import SparseGPT
from core.patterns import Pattern
from core.reference import Reference
from core.stages.base import UpdateStage
from core.statistics import InputStatistics


class Reconstruction(SweepOptions, UpdateStage):
    """Updates the surviving weights by the column sweep, for the mask another method chose.

    Source: Frantar and Alistarh (arXiv 2301.00774), section 3.2; used after RIA by Zhang et al. (ICLR 2024), section 4.
    """

    name: ClassVar[str] = "reconstruction"
    title: ClassVar[str] = "Reconstruction"
    summary: ClassVar[str] = (
        "Lets the surviving weights make up for the pruned ones: the column sweep of SparseGPT, for the mask that the method "
        "chose. It can round the survivors to a grid of few bits on the way."
    )
    formula: ClassVar[str] = r"\min_{\hat W} \|X(W - M \odot \hat W)^\top\|^2 \text{ column by column}"
    reference: ClassVar[Reference] = SparseGPT.reference
    needs: ClassVar[frozenset[str]] = frozenset({"gram"})
    order: ClassVar[int] = 20

    def check(self, method: Method, pattern: Pattern) -> None:
        if method.updates:
            raise InputError(
                f"stage = {self.name} does not go with method = {method.name}, which updates the surviving weights already; "
                "leave the stage out."
            )

    def update(self, dense: Float[torch.Tensor, "out in"], pruned: Pruned, stats: InputStatistics) -> Pruned:
        updated = self.sweep(dense, stats, given(pruned.keep))
        return replace(updated, report={**pruned.report, **updated.report})
