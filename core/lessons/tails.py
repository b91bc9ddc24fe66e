"""Hill's estimate as the threshold slides, and the allocation that follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from core.allocation import allocate
from core.allocation.alpha_pruning import AlphaPruning
from core.errors import InputError
from core.lazy import torch
from core.lessons.example import dice
from core.patterns import Unstructured
from core.profile import ModelProfile, ModuleInfo
from core.spectra.esd import eigenvalues, nonzero
from core.spectra.hill import FITS, Tail, all_starts, choose, fit_tail, hill
from core.spectra.marchenko_pastur import fit_bulk

MADE_UP = (128, 192)
"""Shape of the matrices of the made-up model, which has one in each block."""
_BLOCKS = 6


@dataclass(frozen=True)
class HillCurve:
    """One spectrum's positive eigenvalues, ascending, with alpha and the KS distance for a tail that begins at each of them
    (but the last, whose tail is a single value), and the tails that the fits choose, by name."""

    values: Float[np.ndarray, " n"]
    alphas: Float[np.ndarray, " m"]
    distances: Float[np.ndarray, " m"]
    fits: Mapping[str, Tail]
    bulk: tuple[float, float]
    """Where the random bulk that fits it begins and ends."""

    def tail(self, share: float) -> Tail:
        """The tail that holds this share of the eigenvalues."""
        start = start_of(len(self.values), share)
        size = len(self.values) - start
        return Tail(float(self.alphas[start]), float(self.distances[start]), float(self.values[start]), size)


def start_of(count: int, share: float) -> int:
    """The index at which a tail of this share of ``count`` values begins; it holds two at least."""
    return count - min(max(round(share * count), 2), count)


def hill_curve(values: Float[np.ndarray, " n"], shape: tuple[int, int]) -> HillCurve:
    """``values``: all eigenvalues, ascending, of a weight of ``shape``. Raises InputError where no tail can be fitted."""
    starts = all_starts(nonzero(torch.from_numpy(values)))
    fits = {}
    for name, fit in FITS.items():
        try:
            fits[name] = choose(starts, *fit)
        except InputError:  # this one finds no place; the others may
            continue
    if not fits:
        raise InputError("This spectrum has no two different eigenvalues above zero, so no tail can be fitted.")
    bulk = fit_bulk(starts.values, *shape)
    alphas, distances = starts.alphas[:-1].numpy(), starts.distances[:-1].numpy()
    return HillCurve(starts.values.numpy(), alphas, distances, fits, (bulk.low, bulk.high))


def alphas_at(spectra: Mapping[str, Float[np.ndarray, " n"]], share: float) -> dict[str, float | None]:
    """Hill's estimate of every module for a tail of this share of its eigenvalues; None where there is none above 1."""
    found: dict[str, float | None] = {}
    for name, values in spectra.items():
        positive = nonzero(torch.from_numpy(values))
        alpha = float(hill(positive)[start_of(len(positive), share)]) if len(positive) > 1 else 0.0
        found[name] = alpha if 1 < alpha < float("inf") else None
    return found


def fitted_alphas(spectra: Mapping[str, Float[np.ndarray, " n"]], fit: str = "peak") -> dict[str, float | None]:
    """Alpha of every module by one of the ``FITS``; None where it finds none."""
    found: dict[str, float | None] = {}
    for name, values in spectra.items():
        try:
            found[name] = fit_tail(nonzero(torch.from_numpy(values)), *FITS[fit]).alpha
        except InputError:
            found[name] = None
    return found


def allocation_of(
    profile: ModelProfile, alphas: Mapping[str, float | None], epsilon: float, target: float
) -> dict[str, float]:
    """AlphaPruning's sparsity of every module for these alphas."""
    return allocate(AlphaPruning(epsilon=epsilon), Unstructured(), profile, target, alphas)


def made_up_model(seed: int) -> tuple[ModelProfile, dict[str, Float[np.ndarray, " n"]]]:
    """Eigenvalues of random matrices whose rows fall off in strength, more steeply (a heavier tail) from block to block.

    Stands for what training does to a spectrum; no model was trained for it.
    """
    generator = dice(seed)
    rows, columns = MADE_UP
    modules, spectra = [], {}
    for block in range(_BLOCKS):
        noise = torch.randn(rows, columns, generator=generator)
        strengths = (torch.arange(rows) + 1.0) ** -(0.12 + 0.14 * block)
        name = f"blocks.{block}.weight"
        modules.append(ModuleInfo(name=name, block=block, label="weight", shape=MADE_UP))
        spectra[name] = eigenvalues(noise * strengths[:, None]).numpy()
    size = _BLOCKS * rows * columns
    profile = ModelProfile(
        architecture="made up", parameters=size, max_seqlen=None, vocabulary=1, hidden_size=columns, itemsize=4,
        modules=tuple(modules),
    )  # fmt: skip
    return profile, spectra
