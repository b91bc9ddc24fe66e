"""The spectrum that a weight's entries would have without their order: what in a spectrum is structure, and what chance."""

from __future__ import annotations

import math
from functools import lru_cache

from jaxtyping import Float, Int

from core.errors import InputError
from core.lazy import torch
from core.spectra.esd import eigenvalues

_KEPT = 2**20  # entries of the largest weight whose permutation is kept: 4 MB


def randomised_eigenvalues(weight: Float[torch.Tensor, "out in"], seed: int = 0) -> Float[torch.Tensor, " n"]:
    """The eigenvalues of ``weight`` with all its entries permuted at random, ascending, float64; n = min(out, in).

    Their sum stays, since the entries do; correlations between them go. What rises above the bulk all the same is due to the
    mean or a few large ones among the entries. The same seed gives the same permutation on every device. As WeightWatcher with
    ``randomize=True``, which draws a new permutation each time.
    """
    order = (_kept_order if weight.numel() <= _KEPT else _order)(weight.numel(), seed)
    return eigenvalues(weight.flatten().index_select(0, order.to(weight.device)).view_as(weight))


def _order(count: int, seed: int) -> Int[torch.Tensor, " count"]:
    """In 32 bits where they do, which takes half as long to make and to follow; the permutation is the same."""
    dtype = torch.int32 if count < 2**31 else torch.int64
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# All modules of one shape share it; making it takes as long as their Gram matrix.
_kept_order = lru_cache(maxsize=8)(_order)


def random_distance(values: Float[torch.Tensor, " n"], randomised: Float[torch.Tensor, " n"]) -> float:
    """The Jensen–Shannon distance between a spectrum and its randomised one, from 0 to sqrt(log 2) = 0.83.

    ``sqrt(H((p + q) / 2) - (H(p) + H(q)) / 2)`` with ``H(p) = -sum p log p``, natural logarithms, ``p = values / sum values`` and
    q likewise: WeightWatcher's ``rand_distance``. It pairs the eigenvalues by rank, so it compares how the total is shared out,
    not two densities over λ. Both arguments: all eigenvalues, ascending, zeros included.

    Raises InputError where a spectrum is all zero. Deviation: WeightWatcher takes the mean before it normalises, which is the
    same for equal sums, as a permutation's are.
    """
    if float(values.sum()) == 0 or float(randomised.sum()) == 0:
        raise InputError("A zero matrix has no spectrum, so its random distance is not defined.")
    p, q = values / values.sum(), randomised / randomised.sum()
    mean, each = _entropy((p + q) / 2), (_entropy(p) + _entropy(q)) / 2
    return math.sqrt(max(0.0, mean - each))  # equal spectra may differ by rounding


def _entropy(shares: torch.Tensor) -> float:
    return float(torch.special.entr(shares).sum())
