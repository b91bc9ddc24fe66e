"""The column sweep of SparseGPT: prune from left to right, let the columns to the right make up for it.

Source: SparseGPT (arXiv 2301.00774), algorithm 1, with its lazy updates across blocks.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Bool, Float

from core.lazy import torch

Choose = Callable[[int, "torch.Tensor"], "torch.Tensor"]
"""(first column, saliency [out, columns]) -> keep [out, columns]."""


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


def sweep(
    weight: Float[torch.Tensor, "out in"],
    factor: Float[torch.Tensor, "in in"],
    choose: Choose,
    blocksize: int = 128,
    span: int | None = None,
) -> tuple[Float[torch.Tensor, "out in"], Bool[torch.Tensor, "out in"]]:
    """Prunes ``weight`` column by column; returns the updated weight and its keep mask.

    ``choose`` decides ``span`` columns at a time (a whole block where None) when the sweep reaches them, from the
    saliency ``w_ij^2 / U_jj^2`` of the weights as updated so far. The error ``(w_j - q_j) / U_jj`` of each pruned weight
    is subtracted along ``U[j, j:]``: at once inside the block, for all later columns when the block ends.
    """
    rows = weight.T.contiguous().clone()  # one row an input: the inner loop then runs over contiguous memory
    keep = torch.ones_like(rows, dtype=torch.bool)
    columns = len(rows)
    span = span or blocksize
    blocksize = max(span, blocksize - blocksize % span)  # a decision never straddles two blocks
    for start in range(0, columns, blocksize):
        stop = min(start + blocksize, columns)
        block, block_keep, u = rows[start:stop], keep[start:stop], factor[start:stop, start:stop]
        pivots = u.diagonal()[:, None]
        errors = torch.zeros_like(block)
        for j in range(stop - start):
            if j % span == 0:
                ahead = slice(j, j + span)
                block_keep[ahead] = choose(start + j, (block[ahead] / pivots[ahead]).square().T).T
            errors[j] = block[j].masked_fill(block_keep[j], 0) / pivots[j]
            block[j:].addr_(u[j, j:], errors[j], alpha=-1)
        rows[stop:] -= factor[start:stop, stop:].T @ errors
    return (rows * keep).T.contiguous(), keep.T.contiguous()
