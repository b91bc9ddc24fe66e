"""The eigenvalues of W^T W."""

from __future__ import annotations

from jaxtyping import Float

from core.errors import InputError
from core.lazy import torch
from core.profile import ModelProfile

_REDUCTION = 15.0  # operations per n^3, as long as they take beside a matrix product's


def eigenvalues(weight: Float[torch.Tensor, "out in"]) -> Float[torch.Tensor, " n"]:
    """The squared singular values of ``weight``, ascending, float64; n = min(out, in).

    From the smaller of the two Gram matrices in float64, which costs a quarter of a singular value decomposition. Each is
    off by at most about ``n * 2e-16`` times the largest, so one that is a millionth of the largest still has nine exact
    digits; what lies below that noise is set to 0. Raises InputError where a weight is NaN or infinite.
    """
    if not weight.isfinite().all():
        raise InputError("The weights hold values that are not finite (NaN or infinite), so they have no spectrum.")
    wide = weight if weight.shape[0] <= weight.shape[1] else weight.T
    exact = wide.double()
    values: torch.Tensor = torch.linalg.eigvalsh(exact @ exact.T)
    noise = len(values) * torch.finfo(torch.float64).eps * values[-1].abs()
    return values.where(values > noise, 0)


def nonzero(values: Float[torch.Tensor, " n"]) -> Float[torch.Tensor, " m"]:
    """The eigenvalues above 0: those a tail can be fitted to."""
    return values[values > 0]


def spectra_flops(profile: ModelProfile) -> float:
    """About how many operations the eigenvalues of all modules take: Gram matrices, then a reduction to three diagonals,
    which runs at a fraction of a matrix product's speed."""
    sides = [(min(module.shape), max(module.shape)) for module in profile.modules]
    return sum(2.0 * small**2 * large + _REDUCTION * small**3 for small, large in sides)
