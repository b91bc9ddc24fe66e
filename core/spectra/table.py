"""The spectra of a whole model as a table, module by module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers import PreTrainedModel

from core.errors import InputError
from core.models.structure import decoder_blocks, read_weight
from core.spectra.esd import eigenvalues, nonzero
from core.spectra.hill import Bound, Choice, fit_tail
from core.spectra.marchenko_pastur import fit_bulk
from core.spectra.metrics import metrics

SMALL = 50
"""Eigenvalues below which a fit is a guess."""


@torch.no_grad()
def spectrum_rows(model: PreTrainedModel, fit: Choice = "peak", bound: Bound = "reference") -> Iterator[dict[str, Any]]:
    """One row a prunable module: alpha and its standard error, D, the tail, the bulk, every metric, and a note."""
    for block in decoder_blocks(model):
        for name, module in block.modules.items():
            weight = read_weight(module).float()
            row = {"module": name, "block": block.index, "label": name.removeprefix(f"{block.name}.")}
            yield row | spectrum(weight, fit, bound)


def spectrum(weight: torch.Tensor, fit: Choice = "peak", bound: Bound = "reference") -> dict[str, Any]:
    """The figures of one weight's spectrum; what it does not have is missing, and ``note`` says why."""
    values = eigenvalues(weight)
    positive = nonzero(values)
    row: dict[str, Any] = {"eigenvalues": len(values), "rank": len(positive), "note": ""}
    if len(positive) == 0:
        return row | {"note": "The matrix is zero, so it has no spectrum."}
    bulk = fit_bulk(positive, weight.shape[0], weight.shape[1])
    row |= {"bulk_low": bulk.low, "bulk_high": bulk.high}
    try:
        tail = fit_tail(positive, fit, bound)
    except InputError as problem:
        return row | metrics(values, None, bulk) | {"note": str(problem)}
    if len(values) < SMALL:
        row["note"] = f"Fewer than {SMALL} eigenvalues: the fit is a guess."
    row |= {"alpha_error": tail.standard_error, "xmin": tail.xmin, "tail_size": tail.size}
    return row | metrics(values, tail, bulk)
