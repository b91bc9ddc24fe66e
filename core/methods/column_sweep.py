"""The column sweep of SparseGPT: prune from left to right, let the columns to the right make up for it.

Source: SparseGPT (arXiv 2301.00774), algorithm 1, with its lazy updates across blocks and joint rounding (section 3.5).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

from jaxtyping import Bool, Float
from pydantic import BaseModel, Field

from core.compiled import runs_compiled
from core.errors import InputError
from core.lazy import torch
from core.methods.base import Pruned
from core.methods.rounding import Grid, fit_grid
from core.products import add_square, mirror
from core.registry import ADVANCED
from core.selection import masked_, refuse_nan, smallest
from core.statistics import InputStatistics
from core.statistics.gram import finite_gram

Choose: TypeAlias = Callable[[int, "torch.Tensor"], "torch.Tensor"]
"""(first column, saliency [out, columns]) -> keep [out, columns]."""
Watch = Callable[["torch.Tensor", "torch.Tensor", int, "torch.Tensor"], None]
"""Told of every column when the sweep leaves it: (weight [out, in], keep [out, in], column, error [out]); the tensors are
the sweep's own, which go on changing."""

_SMALL = 200
"""Up to this size a factorisation is left to LAPACK."""
_STRIP = 64
"""So many columns go through the compiled loop before the rest of their block hears of it."""


@dataclass(frozen=True)
class LowestOfEach:
    """The choice of N:M: of every ``m`` consecutive inputs the ``drop`` least salient go."""

    drop: int
    m: int

    def __call__(self, start: int, saliency: Float[torch.Tensor, "out columns"]) -> Bool[torch.Tensor, "out columns"]:
        return ~smallest(saliency.reshape(-1, self.m), self.drop).reshape(saliency.shape)


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
        gram = finite_gram(stats)
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
        (swept,) = self.sweep_joint([weight], stats, choose, span, watch)
        return swept

    def sweep_joint(
        self,
        weights: Sequence[Float[torch.Tensor, "_ in"]],
        stats: InputStatistics,
        choose: Choose,
        span: int | None = None,
        watch: Watch | None = None,
    ) -> list[Pruned]:
        """One sweep over the rows of all ``weights``, which read the same input: errors go along a row."""
        dead = stats["gram"].diagonal() == 0
        rows = torch.cat([*weights])
        updated, keep = sweep(
            rows.masked_fill_(dead, 0) if dead.any() else rows,
            self.factor(stats),
            choose,
            self.blocksize,
            span,
            self.bits,
            self.bits_group,
            self.symmetric,
            watch,
        )
        heights = [len(weight) for weight in weights]
        # Copies, since parts of one tensor would stay in memory, and be saved, together.
        return [
            Pruned(weight.clone(), kept.clone(), dead, self.report(weight))
            for weight, kept in zip(updated.split(heights), keep.split(heights), strict=True)
        ]

    def report(self, weight: Float[torch.Tensor, "out in"]) -> dict[str, float]:
        """The figures a matrix of this shape has to tell."""
        shape = (weight.shape[0], weight.shape[1])
        return {"bits": float(self.bits), "grid_bits": float(self.grid_bits(shape))} if self.bits else {}

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
    factor = torch.zeros_like(damped)
    _invert(damped, factor)
    return factor


def _invert(h: Float[torch.Tensor, "in in"], u: Float[torch.Tensor, "in in"]) -> None:
    """Fills ``u``, which is zero, with the inverse of the upper triangular R with ``H = R R^T``; ``h`` is used up.

    By halves, so that nearly all of it is products: with ``R = [[R1, S], [0, R2]]``, R2 follows from H's last quarter,
    ``S = H12 R2^-T``, and R1 from ``H11 - S S^T``.
    """
    if len(h) <= _SMALL:
        r = torch.linalg.cholesky(h.flip(0, 1)).flip(0, 1)
        u.copy_(torch.linalg.solve_triangular(r, torch.eye(len(r), device=r.device), upper=True))
        return
    half = len(h) // 2
    h11, u1, u2 = h[:half, :half], u[:half, :half], u[half:, half:]
    _invert(h[half:, half:], u2)
    s = _upper_times(u2, h[:half, half:].T).T
    add_square(h11, s.T, alpha=-1.0)
    mirror(h11)
    _invert(h11, u1)
    torch.mm(_upper_times(u1, s).neg_(), u2, out=u[:half, half:])


def _upper_times(u: Float[torch.Tensor, "n n"], a: Float[torch.Tensor, "n k"]) -> Float[torch.Tensor, "n k"]:
    """``u @ a`` without the quarter of ``u`` that is zero."""
    half, product = len(u) // 2, a.new_empty(a.shape)
    torch.mm(u[:half], a, out=product[:half])
    torch.mm(u[half:, half:], a[half:], out=product[half:])
    return product


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
    weight = weight.clone(memory_format=torch.contiguous_format)
    keep = torch.ones_like(weight, dtype=torch.bool)
    blocksize = whole(blocksize, span, bits_group)
    rounding = Rounding(fit_grid(weight, bits, symmetric), bits, bits_group, symmetric) if bits else None
    plain = rounding is None and watch is None and (span is None or isinstance(choose, LowestOfEach))
    for start in range(0, weight.shape[1], blocksize):
        stop = min(start + blocksize, weight.shape[1])
        block = Block(start, weight[:, start:stop], keep[:, start:stop], factor[start:stop, start:stop])
        if plain and runs_compiled(weight):
            errors = _eliminated(block, choose)
        else:
            told = partial(watch, weight, keep) if watch else None
            errors = _eliminated_by_column(block, choose, span or blocksize, rounding, told)
        weight[:, stop:].addmm_(errors.T, factor[start:stop, stop:], alpha=-1.0)
        if watch is not None:
            watch(weight, keep, stop - 1, errors[-1])
    return masked_(weight, keep), keep


@dataclass(frozen=True)
class Block:
    """The columns from ``start`` on: views of the sweep's own."""

    start: int
    weight: Float[torch.Tensor, "out columns"]
    keep: Bool[torch.Tensor, "out columns"]
    factor: Float[torch.Tensor, "columns columns"]

    def choose(self, choose: Choose, columns: slice) -> None:
        """Fills ``keep`` for ``columns`` of the block."""
        pivots = self.factor.diagonal()[columns]
        self.keep[:, columns] = choose(self.start + columns.start, (self.weight[:, columns] / pivots).square_())


@dataclass(frozen=True)
class Rounding:
    """The grid of the whole rows, and how to fit another to the columns that share one."""

    grid: Grid
    bits: int
    bits_group: int | None
    symmetric: bool


def _eliminated(block: Block, choose: Choose) -> Float[torch.Tensor, "columns out"]:
    """The errors; what they change in the block is done there.

    A strip of columns at a time in a compiled loop, and what it passes on to the rest of the block as one product.
    """
    from core.methods.elimination import eliminate, eliminate_lowest  # compiled when it is needed

    out, columns = block.weight.shape
    errors = torch.empty(columns, out)
    lowest = choose if isinstance(choose, LowestOfEach) else None
    if lowest:
        refuse_nan(block.weight)
    else:
        block.choose(choose, slice(0, columns))
    strip = whole(_STRIP, lowest.m if lowest else None, None)
    for start in range(0, columns, strip):
        part, rest = slice(start, min(start + strip, columns)), slice(start + strip, columns)
        arrays = [block.weight[:, part], block.keep[:, part], block.factor[part, part].contiguous(), errors[part]]
        if lowest:
            eliminate_lowest(*(array.numpy() for array in arrays), lowest.drop, lowest.m)
        else:
            eliminate(*(array.numpy() for array in arrays))
        block.weight[:, rest].addmm_(errors[part].T, block.factor[part, rest], alpha=-1.0)
    return errors


def _eliminated_by_column(
    block: Block,
    choose: Choose,
    span: int,
    rounding: Rounding | None,
    watch: Callable[[int, torch.Tensor], None] | None,
) -> Float[torch.Tensor, "columns out"]:
    """The same, choosing ``span`` columns at a time, rounding, and telling ``watch`` of every column but the last."""
    weight, u = block.weight, block.factor
    out, columns = weight.shape
    errors = weight.new_empty(columns, out)
    grid = rounding.grid if rounding else None
    for j in range(columns):
        if j % span == 0:
            block.choose(choose, slice(j, j + span))
        if rounding and rounding.bits_group and j % rounding.bits_group == 0:
            grid = fit_grid(weight[:, j : j + rounding.bits_group], rounding.bits, rounding.symmetric)
        target = weight[:, j].masked_fill(~block.keep[:, j], 0)
        if grid is not None:
            target = grid.round(target)
        errors[j] = (weight[:, j] - target) / u[j, j]
        weight[:, j:].addr_(errors[j], u[j, j:], alpha=-1.0)
        if grid is not None:
            weight[:, j] = target  # to the last bit on the grid
        if watch is not None and j + 1 < columns:
            watch(block.start + j, errors[j])
    return errors
