"""The column sweep of SparseGPT: prune from left to right, let the columns to the right make up for it.

Source: SparseGPT (arXiv 2301.00774), algorithm 1, with its lazy updates across blocks and joint rounding (section 3.5).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from jaxtyping import Bool, Float
from pydantic import BaseModel, Field

from core.errors import InputError
from core.lazy import torch
from core.methods.base import Pruned
from core.methods.rounding import fit_grid
from core.registry import ADVANCED
from core.statistics import InputStatistics

Choose = Callable[[int, "torch.Tensor"], "torch.Tensor"]
"""(first column, saliency [out, columns]) -> keep [out, columns]."""
Watch = Callable[[int, "torch.Tensor", "torch.Tensor", "torch.Tensor"], None]
"""Told of every column when the sweep leaves it: (column, weight [in, out], keep [in, out], error [out]), all but the first
the sweep's own tensors, which go on changing."""


class SweepOptions(BaseModel, frozen=True):
    """What every user of the sweep lets the user choose."""

    blocksize: int = Field(
        128,
        ge=1,
        le=4096,
        title="Block size",
        description="Columns whose errors are passed on together; a mask chosen on the way competes within them.",
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
    bits: int | None = Field(
        None,
        ge=2,
        le=8,
        title="Bits",
        description="Round the surviving weights to this many bits as the sweep goes, so that later columns make up for it; "
        "empty: no rounding.",
        json_schema_extra=ADVANCED,
    )
    bits_group: int | None = Field(
        None,
        ge=8,
        title="Rounding group",
        description="Consecutive inputs of a row that share one grid; empty: the whole row does.",
        json_schema_extra=ADVANCED,
    )
    symmetric: bool = Field(
        False,
        title="Symmetric grid",
        description="Grids are as wide below zero as above (by one step); else they span the weights that are there.",
        json_schema_extra=ADVANCED,
    )

    def factor(self, stats: InputStatistics) -> Float[torch.Tensor, "in in"]:
        """The inverse factor of the inputs' Gram matrix, once for all modules that share them. Raises InputError."""
        gram = stats["gram"]
        if not gram.isfinite().all():
            raise InputError(
                "The inputs hold values that are not finite; the model is broken, or its data type too small."
            )
        try:
            return stats.derived(("inverse_factor", self.damping), lambda: inverse_factor(gram, self.damping))
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise InputError(
                f"damping = {self.damping} leaves the Gram matrix singular; raise it (0.1, say) or use more calibration windows."
            ) from error

    def sweep(
        self,
        weight: Float[torch.Tensor, "out in"],
        stats: InputStatistics,
        choose: Choose,
        span: int | None = None,
        watch: Watch | None = None,
    ) -> Pruned:
        """The weight after the sweep; the weights of dead inputs are zeroed before it."""
        dead = stats["gram"].diagonal() == 0
        updated, keep = sweep(
            weight.masked_fill(dead, 0),
            self.factor(stats),
            choose,
            self.blocksize,
            span,
            self.bits,
            self.bits_group,
            self.symmetric,
            watch,
        )
        shape = (weight.shape[0], weight.shape[1])
        report = {"bits": float(self.bits), "grid_bits": float(self.grid_bits(shape))} if self.bits else {}
        return Pruned(updated, keep, dead, report)

    def block(self, span: int | None) -> int:
        """The columns of a block as the sweep takes them."""
        return whole(self.blocksize, span, self.bits_group)

    def grid_bits(self, shape: tuple[int, int]) -> int:
        """What the grids of a [out, in] matrix take in a packed form: 16 bits a scale, and ``bits`` a zero point."""
        grids = shape[0] * math.ceil(shape[1] / (self.bits_group or shape[1]))
        return grids * (16 + (0 if self.symmetric else self.bits or 0))


def inverse_factor(gram: Float[torch.Tensor, "in in"], damping: float) -> Float[torch.Tensor, "in in"]:
    """The upper Cholesky factor U of ``(H + damping * mean(diag H) * I)^-1``, so that the inverse is ``U^T U``.

    Dead inputs (``H_jj = 0``) count with ``H_jj = 1``. Raises ``torch.linalg.LinAlgError`` where the damped H is not
    positive definite.
    """
    damped = gram.clone()
    diagonal = damped.diagonal()
    diagonal[diagonal == 0] = 1
    diagonal += damping * diagonal.mean()
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor: torch.Tensor = torch.linalg.cholesky(inverse, upper=True)
    return factor


def whole(blocksize: int, span: int | None, bits_group: int | None) -> int:
    """``blocksize`` made a multiple of what is decided, and of what is rounded, together: neither straddles two blocks."""
    unit = math.lcm(span or 1, bits_group or 1)
    return max(unit, blocksize - blocksize % unit)


def given(keep: Bool[torch.Tensor, "out in"]) -> Choose:
    """The choice that was made already."""
    return lambda start, saliency: keep[:, start : start + saliency.shape[1]]


def sweep(
    weight: Float[torch.Tensor, "out in"],
    factor: Float[torch.Tensor, "in in"],
    choose: Choose,
    blocksize: int = 128,
    span: int | None = None,
    bits: int | None = None,
    bits_group: int | None = None,
    symmetric: bool = False,
    watch: Watch | None = None,
) -> tuple[Float[torch.Tensor, "out in"], Bool[torch.Tensor, "out in"]]:
    """Prunes ``weight`` column by column; returns the updated weight and its keep mask.

    ``choose`` decides ``span`` columns at a time (a whole block where None) when the sweep reaches them, from the
    saliency ``w_ij^2 / U_jj^2`` of the weights as updated so far. With ``bits``, survivors are rounded to a grid fitted
    to each row, or to each row's ``bits_group`` columns when the sweep reaches them. The error ``(w_j - q_j) / U_jj`` of
    each weight is subtracted along ``U[j, j:]``: at once inside the block, for all later columns when the block ends, which
    is when ``watch`` is told of its last column.
    """
    rows = weight.T.contiguous().clone()  # one row an input: the inner loop then runs over contiguous memory
    keep = torch.ones_like(rows, dtype=torch.bool)
    columns = len(rows)
    blocksize = whole(blocksize, span, bits_group)
    span = span or blocksize
    grid = fit_grid(weight, bits, symmetric) if bits else None
    for start in range(0, columns, blocksize):
        stop = min(start + blocksize, columns)
        block, block_keep, u = rows[start:stop], keep[start:stop], factor[start:stop, start:stop]
        pivots = u.diagonal()[:, None]
        errors = torch.zeros_like(block)
        for j in range(stop - start):
            if j % span == 0:
                ahead = slice(j, j + span)
                block_keep[ahead] = choose(start + j, (block[ahead] / pivots[ahead]).square().T).T
            if bits and bits_group and j % bits_group == 0:
                grid = fit_grid(block[j : j + bits_group].T, bits, symmetric)
            target = block[j].masked_fill(~block_keep[j], 0)
            if grid is not None:
                target = grid.round(target)
            errors[j] = (block[j] - target) / pivots[j]
            block[j:].addr_(u[j, j:], errors[j], alpha=-1)
            if grid is not None:
                block[j] = target  # to the last bit on the grid
            if watch is not None and start + j + 1 < stop:
                watch(start + j, rows, keep, errors[j])
        rows[stop:] -= factor[start:stop, stop:].T @ errors
        if watch is not None:
            watch(stop - 1, rows, keep, errors[-1])
    return (rows * keep).T.contiguous(), keep.T.contiguous()
