"""SparseGPT: prune and compensate."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float
from pydantic import Field

from core.errors import InputError
from core.lazy import torch
from core.methods.base import Method, Pruned
from core.methods.column_sweep import inverse_factor, sweep
from core.patterns import Group, Pattern
from core.registry import ADVANCED
from core.statistics import InputStatistics


class SparseGPT(Method):
    """Saliency ``W_ij^2 / [U]_jj^2``, pruned from left to right, each error spread over the columns to its right.

    ``U`` is the upper Cholesky factor of the damped inverse Gram matrix. An unstructured mask is chosen per block of
    columns from the weights as already updated (the comparison group is that block); N:M when each group begins. Weights
    on dead inputs are zeroed and reported apart from the mask.

    Source: Frantar and Alistarh (arXiv 2301.00774), section 3. Deviation: exact counts in each block.
    """

    name: ClassVar[str] = "sparsegpt"
    title: ClassVar[str] = "SparseGPT"
    summary: ClassVar[str] = (
        "Prunes column by column and updates the remaining weights so that the layer's output changes least, "
        "using the correlations between inputs."
    )
    reference: ClassVar[str] = "Frantar and Alistarh, 2023, arXiv 2301.00774"
    needs: ClassVar[frozenset[str]] = frozenset({"gram"})
    group: ClassVar[Group] = "layer"

    blocksize: int = Field(
        128,
        ge=1,
        le=4096,
        title="Block size",
        description="Columns whose mask is chosen together.",
        json_schema_extra=ADVANCED,
    )
    damping: float = Field(
        0.01,
        gt=0,
        le=1,
        title="Damping",
        description="Share of the Gram matrix's mean diagonal added to it before it is inverted.",
        json_schema_extra=ADVANCED,
    )

    def prune(
        self,
        weight: Float[torch.Tensor, "out in"],
        stats: InputStatistics,
        pattern: Pattern,
        sparsity: float,
    ) -> Pruned:
        gram, pattern = stats["gram"], pattern.resolve(self.group)
        if not gram.isfinite().all():
            raise InputError(
                "The inputs hold values that are not finite; the model is broken, or its data type too small."
            )
        dead = gram.diagonal() == 0
        try:
            factor = stats.derived(("inverse_factor", self.damping), lambda: inverse_factor(gram, self.damping))
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise InputError(
                f"damping = {self.damping} leaves the Gram matrix singular; raise it (0.1, say) or use more calibration windows."
            ) from error
        updated, keep = sweep(
            weight.masked_fill(dead, 0),
            factor,
            lambda start, saliency: pattern.keep(saliency, sparsity),
            self.blocksize,
            pattern.span,
        )
        return Pruned(updated, keep, dead_inputs=dead)
