"""Masked least squares: the surviving weights that change a layer's output least, by ADMM and conjugate gradients.

Source: Boža, "Fast and Effective Weight Update for Pruned Large Language Models" (arXiv 2401.02938).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Bool, Float
from pydantic import BaseModel, Field

from core.lazy import torch
from core.methods.base import Pruned
from core.patterns import Pattern, Unstructured
from core.registry import ADVANCED
from core.selection import masked
from core.statistics import InputStatistics
from core.statistics.gram import finite_gram

SMALL = 256
"""Matrices of so many inputs or fewer are solved to the end, since a step on them costs next to nothing."""

_ENOUGH = 1e-5
"""The finish ends once a step lowers the objective by a smaller share than this."""
_WIDE = 192
"""Rows of more inputs are sampled."""
_SAMPLE = 2**15
"""Weights from which the cut of a mask that is not the last one is estimated."""


class Space(NamedTuple):
    """One input's Gram matrix where every input has norm 1, and what ADMM divides by.

    ``scale``: the norms; a weight is multiplied by its input's. ``gram``: with ones, and the damping, on its diagonal.
    ``inverse``: of ``gram + rho * I``.
    """

    scale: Float[torch.Tensor, " in"]
    gram: Float[torch.Tensor, "in in"]
    inverse: Float[torch.Tensor, "in in"]


class Start(NamedTuple):
    """Where the finish begins: weights [out, in] that obey the mask, and the mask [out, in] as ones and zeros."""

    weight: Float[torch.Tensor, "out in"]
    mask: Float[torch.Tensor, "out in"]


Project = Callable[[int, "torch.Tensor"], "torch.Tensor"]
"""(iteration, V [out, in]) -> V with zeros where it is pruned in this iteration."""


class ADMMOptions(BaseModel, frozen=True):
    """What every user of the update lets the user choose."""

    iterations: int = Field(
        6,
        ge=1,
        le=1000,
        title="Iterations",
        description="Of ADMM; the mask is chosen anew in each, more of it every time. More find better masks.",
    )
    finish: int = Field(
        6,
        ge=0,
        le=1000,
        title="Finishing steps",
        description="Steps of conjugate gradients under the final mask; matrices of up to 256 inputs take what they need.",
        json_schema_extra=ADVANCED,
    )
    damping: float = Field(
        0.01,
        gt=0,
        le=1,
        title="Damping",
        description="Added to the Gram matrix's diagonal once every input has norm 1: how much a weight's change counts by itself.",
        json_schema_extra=ADVANCED,
    )
    rho: float = Field(
        1.0, gt=0, le=100, title="Penalty ρ", description="How strongly ADMM ties its two copies of the weights together.",
        json_schema_extra=ADVANCED,
    )  # fmt: skip
    relaxation: float = Field(
        1.6,
        ge=1,
        lt=2,
        title="Over-relaxation",
        description="How far beyond each solution ADMM steps; 1 is the paper's. At 1.6 half as many iterations do.",
        json_schema_extra=ADVANCED,
    )

    def space(self, stats: InputStatistics) -> Space:
        """Of one input, made once for all modules that read it. Raises InputError where it is not finite."""
        gram = finite_gram(stats)
        scale = unit_scale(gram)

        def scaled() -> torch.Tensor:
            found = gram / scale / scale[:, None]
            found.diagonal().fill_(1 + self.damping)
            return found

        def inverse() -> torch.Tensor:
            shifted = products.clone()
            shifted.diagonal().add_(self.rho)
            return torch.cholesky_inverse(torch.linalg.cholesky(shifted))

        products = stats.derived(("unit_gram", self.damping), scaled)
        return Space(scale, products, stats.derived(("admm_inverse", self.damping, self.rho), inverse))

    def pruned(
        self, weight: Float[torch.Tensor, "out in"], stats: InputStatistics, pattern: Pattern, sparsity: float
    ) -> Pruned:
        """``weight`` under a mask that is chosen on the way."""
        selection = Gradual(pattern, sparsity, self.iterations)
        return self._solved(weight, stats, selection, lambda: selection.keep)

    def updated(
        self, weight: Float[torch.Tensor, "out in"], keep: Bool[torch.Tensor, "out in"], stats: InputStatistics
    ) -> Pruned:
        """``weight`` under a given mask."""
        mask = keep.to(weight.dtype)
        return self._solved(weight, stats, lambda iteration, v: v * mask, lambda: keep)

    def _solved(
        self,
        weight: torch.Tensor,
        stats: InputStatistics,
        project: Project,
        keep: Callable[[], torch.Tensor],
    ) -> Pruned:
        space, dead = self.space(stats), stats["gram"].diagonal() == 0
        dense = (weight * space.scale).masked_fill(dead, 0)
        found = admm(dense, space.inverse, project, self.iterations, self.rho, self.relaxation)
        steps = max(self.finish, weight.shape[1]) if weight.shape[1] <= SMALL else self.finish
        mask = keep().to(found.dtype)
        found = conjugate_gradients(dense, space.gram, Start(found, mask), steps)
        return Pruned(found / space.scale * mask, keep(), dead)


def unit_scale(gram: Float[torch.Tensor, "in in"]) -> Float[torch.Tensor, " in"]:
    """The norms of the inputs; 1 for inputs that are always 0."""
    norm = gram.diagonal().sqrt()
    return torch.where(norm > 0, norm, 1)


class Gradual:
    """The masks of the iterations: more is pruned each time, up to all that the pattern prunes at last.

    After t of T iterations ``s_t = s - s (1 - t / T)^3`` of the weights are pruned: those of the lowest ``|V|`` in the whole matrix
    or in each row, as the pattern compares; for other patterns, among those that it would prune. Until the last mask, which
    is the pattern's own to the weight, cuts are estimated from a sample.
    """

    def __init__(self, pattern: Pattern, sparsity: float, iterations: int) -> None:
        self._pattern, self._sparsity, self._iterations = pattern, sparsity, iterations
        self.keep: torch.Tensor

    def __call__(self, iteration: int, v: Float[torch.Tensor, "out in"]) -> Float[torch.Tensor, "out in"]:
        left = 1 - (iteration + 1) / self._iterations
        if left <= 0:
            self.keep = self._pattern.keep(v.abs(), self._sparsity)
            return masked(v, self.keep)
        share = self._sparsity * (1 - left**3)
        if isinstance(self._pattern, Unstructured) and self._pattern.group == "output":
            return above_row_cuts(v, share, iteration)
        if isinstance(self._pattern, Unstructured) and self._pattern.group == "layer":
            return torch.nn.functional.hardshrink(v, cut(v.abs(), share))
        may_go = v.abs().masked_fill_(self._pattern.keep(v.abs(), self._sparsity), torch.inf)
        return v * (may_go > cut(may_go, share))


def above_row_cuts(v: Float[torch.Tensor, "out in"], share: float, iteration: int) -> Float[torch.Tensor, "out in"]:
    """``v`` without about ``share`` of each row's lowest; in wide rows the cut is that of every third column, of others each
    time."""
    step = 3 if v.shape[1] > _WIDE else 1
    sample = v[:, iteration % step :: step].abs()
    count = int(sample.shape[1] * share)
    return v * (v.abs() > sample.kthvalue(count, dim=1, keepdim=True).values) if count else v.clone()


def cut(scores: Float[torch.Tensor, "out in"], share: float) -> float:
    """Up to which about ``share`` of the scores lie, none of them infinite, from an even sample that meets every column."""
    stride = max(1, scores.numel() // _SAMPLE) | 1
    while math.gcd(stride, scores.shape[1]) > 1:
        stride += 2
    sample = scores.reshape(-1)[::stride]
    count = min(int(len(sample) * share), int(sample.isfinite().sum()))
    return float(sample.kthvalue(count).values) if count else 0.0


def admm(
    dense: Float[torch.Tensor, "out in"],
    inverse: Float[torch.Tensor, "in in"],
    project: Project,
    iterations: int,
    rho: float,
    relaxation: float,
) -> Float[torch.Tensor, "out in"]:
    """``min |X (W - Z)^T|^2`` with Z under the mask and W = Z; returns the last Z.

    With ``V = W + U``: ``Z = project(V)``, ``U = V - Z``, ``W = (W0 G + rho (Z - U)) (G + rho I)^-1``, which is
    ``W0 + rho (Z - U - W0) (G + rho I)^-1``; then W is moved beyond, to ``relaxation * W + (1 - relaxation) * Z``.
    """
    v = dense
    for iteration in range(iterations):
        z = project(iteration, v)
        if iteration + 1 == iterations:
            break
        u = v - z
        v = torch.addmm(dense, (z - u).sub_(dense), inverse, alpha=rho)
        if relaxation != 1:
            v.mul_(relaxation).add_(z, alpha=1 - relaxation)
        v += u
    return z


def conjugate_gradients(
    dense: Float[torch.Tensor, "out in"], gram: Float[torch.Tensor, "in in"], start: Start, steps: int
) -> Float[torch.Tensor, "out in"]:
    """Lowers ``tr (W0 - Z) G (W0 - Z)^T`` over the weights that the mask keeps, every row by itself, in at most ``steps``.

    ``G`` has ones on its diagonal but for the damping, so that nothing is left for a diagonal preconditioner to do.
    """
    z, mask = start.weight.clone(), start.mask
    change = dense - z
    residual = change @ gram
    objective = float(torch.linalg.vecdot(change, residual).sum())
    residual *= mask
    direction = residual.clone()
    squares = torch.linalg.vecdot(residual, residual)[:, None]
    for _ in range(steps):
        product = (direction @ gram).mul_(mask)
        curvature = torch.linalg.vecdot(direction, product)[:, None]
        step = torch.where(curvature > 0, squares / curvature, 0)
        z.addcmul_(direction, step)
        residual.addcmul_(product, step, value=-1)
        gain = float((step * squares).sum())
        objective -= gain
        if gain <= _ENOUGH * max(objective, 0):
            break
        before, squares = squares, torch.linalg.vecdot(residual, residual)[:, None]
        direction.mul_(torch.where(before > 0, squares / before, 0)).add_(residual)
    return z
