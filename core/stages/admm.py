"""ADMM update: the best surviving weights for a mask that is given."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from jaxtyping import Float

from core.errors import InputError
from core.lazy import torch
from core.methods.admm import ADMM, BOZA
from core.methods.base import Method, Pruned
from core.methods.masked_least_squares import ADMMOptions
from core.patterns import Pattern
from core.reference import Reference
from core.stages.base import UpdateStage
from core.statistics import InputStatistics


class ADMMUpdate(ADMMOptions, UpdateStage):
    """``min |X (W - Z)^T|^2`` over weights Z under the mask another method chose: ADMM, finished by conjugate gradients.

    Source: Boža (arXiv 2401.02938), section 3.1; deviations as in the method of this name.
    """

    name: ClassVar[str] = "admm"
    title: ClassVar[str] = "ADMM update"
    summary: ClassVar[str] = (
        "Lets the surviving weights make up for the pruned ones, all of a row at once: the best they can do for the mask that "
        "the method chose. Reconstruction by columns is faster and comes less close."
    )
    formula: ClassVar[str] = r"\min_{\hat W} \|X(W - M \odot \hat W)^\top\|^2"
    reference: ClassVar[Reference] = BOZA
    needs: ClassVar[frozenset[str]] = frozenset({"gram"})
    order: ClassVar[int] = 20

    def check(self, method: Method, pattern: Pattern) -> None:
        if isinstance(method, ADMM):
            raise InputError(
                f"stage = {self.name} does not go with method = {method.name}, which updates the surviving weights in the same "
                "way already; leave the stage out."
            )
        if getattr(method, "bits", None):
            raise InputError(
                f"stage = {self.name} does not go with method = {method.name} and bits: it would take weights off the grid they "
                "were rounded to; leave one of them out."
            )

    def flops(self, shape: tuple[int, int], tokens: int) -> float:
        return 2.0 * shape[0] * shape[1] ** 2 * (self.iterations + self.finish)

    def update(self, dense: Float[torch.Tensor, "out in"], pruned: Pruned, stats: InputStatistics) -> Pruned:
        updated = self.updated(dense, pruned.keep, stats)
        return replace(updated, report=pruned.report)
