"""The eigenvalues of W^T W."""

from __future__ import annotations

from jaxtyping import Float

from core.errors import InputError
from core.lazy import torch
from core.profile import ModelProfile

_REDUCTION = 15.0  # operations per n^3, as long as they take beside a matrix product's
_ROWS = 128  # of a Gram matrix, computed at a time up to the diagonal
_COLUMNS = 512  # of a weight, held in float64 at a time


def eigenvalues(weight: Float[torch.Tensor, "out in"]) -> Float[torch.Tensor, " n"]:
    """The squared singular values of ``weight``, ascending, float64; n = min(out, in).

    From the smaller of the two Gram matrices in float64, which costs a quarter of a singular value decomposition. Each is
    off by at most about ``n * 2e-16`` times the largest, so one that is a millionth of the largest still has nine exact
    digits; what lies below that noise is set to 0. Raises InputError where a weight is NaN or infinite.
    """
    wide = weight if weight.shape[0] <= weight.shape[1] else weight.T
    gram = _lower_gram(wide)
    if not gram.diagonal().isfinite().all():  # sums of squares, which nothing can cancel
        raise InputError("The weights hold values that are not finite (NaN or infinite), so they have no spectrum.")
    values: torch.Tensor = torch.linalg.eigvalsh(gram, UPLO="L")
    noise = len(values) * torch.finfo(torch.float64).eps * values[-1].abs()
    return values.where(values > noise, 0)


def _lower_gram(wide: Float[torch.Tensor, "n m"]) -> Float[torch.Tensor, "n n"]:
    """The lower half of ``wide wide^T`` in float64; above the diagonal it is not complete.

    Half the products, and columns of one piece lie together in memory: two thirds of the whole product's time.
    """
    gram = wide.new_zeros(len(wide), len(wide), dtype=torch.float64)
    for part in wide.T.split(_COLUMNS):
        piece = part.to(torch.float64, memory_format=torch.contiguous_format)
        for begin in range(0, len(wide), _ROWS):
            end = begin + _ROWS
            gram[begin:end, :end].addmm_(piece[:, begin:end].T, piece[:, :end])
    return gram


def nonzero(values: Float[torch.Tensor, " n"]) -> Float[torch.Tensor, " m"]:
    """The eigenvalues above 0: those a tail can be fitted to."""
    return values[values > 0]


def spectra_flops(profile: ModelProfile) -> float:
    """About how many operations the eigenvalues of all modules take: Gram matrices, then a reduction to three diagonals,
    which runs at a fraction of a matrix product's speed."""
    sides = [(min(module.shape), max(module.shape)) for module in profile.modules]
    return sum(2.0 * small**2 * large + _REDUCTION * small**3 for small, large in sides)
