"""The figures of a spectrum, by every fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float

from core.errors import InputError
from core.spectra.esd import eigenvalues, nonzero
from core.spectra.hill import FITS, Bound, Choice, Starts, all_starts, choose
from core.spectra.marchenko_pastur import fit_bulk
from core.spectra.metrics import metrics, of_tail

SMALL = 50
"""Eigenvalues below which a fit is a guess."""


def spectrum(weight: Float[torch.Tensor, "out in"], fit: Choice = "peak", bound: Bound = "reference") -> dict[str, Any]:
    """The figures of one weight's spectrum."""
    return figures(eigenvalues(weight), weight.shape[0], weight.shape[1], fit, bound)


def figures(
    values: Float[torch.Tensor, " n"], rows: int, columns: int, fit: Choice = "peak", bound: Bound = "reference"
) -> dict[str, Any]:
    """The figures of a spectrum by one fit; what it does not have is missing, and ``note`` says why.

    ``values``: all eigenvalues of a rows × columns weight, as ``eigenvalues`` gives them.
    """
    return all_figures(values, rows, columns, {fit: (fit, bound)})[fit]


def all_figures(
    values: Float[torch.Tensor, " n"], rows: int, columns: int, fits: Mapping[str, tuple[Choice, Bound]] = FITS
) -> dict[str, dict[str, Any]]:
    """The same by every fit, by its name; what they share is computed once."""
    positive = nonzero(values)
    row: dict[str, Any] = {"eigenvalues": len(values), "rank": len(positive), "note": ""}
    if len(positive) == 0:
        return {name: row | {"note": "The matrix is zero, so it has no spectrum."} for name in fits}
    bulk = fit_bulk(positive, rows, columns)
    row |= {"bulk_low": bulk.low, "bulk_high": bulk.high}
    if len(positive) < SMALL:
        row["note"] = f"Fewer than {SMALL} eigenvalues: the fit is a guess."
    row |= metrics(values, None, bulk)
    starts = all_starts(positive)
    return {name: row | _of_tail(starts, *fit) for name, fit in fits.items()}


def _of_tail(starts: Starts, fit: Choice, bound: Bound) -> dict[str, Any]:
    try:
        tail = choose(starts, fit, bound)
    except InputError as problem:
        return {"note": str(problem)}
    place = {"alpha_error": tail.standard_error, "xmin": tail.xmin, "tail_size": tail.size}
    return place | of_tail(starts.values, tail)
