"""What keep masks look like: rows and columns without survivors, groups that fit N:M, bytes in the usual forms."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Bool, UInt8

INDEX_BYTES = 4
"""Of CSR's column indices and row pointers: int32, as SciPy and PyTorch keep them."""

Packed = tuple[np.ndarray, tuple[int, int]]
"""A keep mask as bits, eight a byte, row after row, and its shape [out, in]."""


def empty_lines(bits: UInt8[np.ndarray, " bytes"], shape: tuple[int, int]) -> tuple[int, int]:
    """How many rows (outputs) and columns (inputs) of a packed mask hold no survivor."""
    rows, columns = shape
    if columns % 8:  # a byte then belongs to two rows
        keep = _unpacked(bits, shape)
        return int((~keep.any(axis=1)).sum()), int((~keep.any(axis=0)).sum())
    lines = bits.reshape(rows, columns // 8)
    any_of_column = np.unpackbits(np.bitwise_or.reduce(lines, axis=0))
    return int((~lines.any(axis=1)).sum()), int((any_of_column == 0).sum())


def fitting_groups(bits: UInt8[np.ndarray, " bytes"], shape: tuple[int, int], n: int, m: int) -> float | None:
    """The share of groups of ``m`` consecutive inputs of a row with at most ``n`` survivors; None where M does not divide."""
    if shape[1] % m:
        return None
    if m == 8:
        return float((np.bitwise_count(bits) <= n).mean())
    if m == 4:
        halves = np.stack([bits >> 4, bits & 15], axis=1).reshape(-1)[: shape[0] * shape[1] // 4]
        return float((np.bitwise_count(halves) <= n).mean())
    return float((_unpacked(bits, shape).reshape(-1, m).sum(axis=1) <= n).mean())


def ordered(
    bits: UInt8[np.ndarray, " bytes"], shape: tuple[int, int], order: np.ndarray
) -> UInt8[np.ndarray, " bytes"]:
    """The mask with its inputs in this order [in], packed again."""
    return np.packbits(_unpacked(bits, shape)[:, order])


def mask_structure(packed: Mapping[str, Packed], orders: Mapping[str, np.ndarray], n: int, m: int) -> pd.DataFrame:
    """One row a mask: ``empty_outputs``, ``empty_inputs``, and ``fitting``, the share of groups with at most N of M.

    ``orders``: by module, the order of inputs in which N:M is looked for where that is not the weights' own.
    """
    rows = []
    for module, (bits, shape) in packed.items():
        outputs, inputs = empty_lines(bits, shape)
        in_order = ordered(bits, shape, orders[module]) if module in orders else bits
        fitting = fitting_groups(in_order, shape, n, m)
        rows.append({"module": module, "empty_outputs": outputs, "empty_inputs": inputs, "fitting": fitting})
    return pd.DataFrame(rows, columns=["module", "empty_outputs", "empty_inputs", "fitting"]).astype({"fitting": float})


def byte_forms(modules: pd.DataFrame, itemsize: int, n: int, m: int) -> pd.DataFrame:
    """Bytes of each module as ``dense``, ``bitmask``, ``CSR`` and ``N:M`` (NaN where a group has more than N survivors).

    ``modules``: the run's table with ``fitting``. Dense: ``itemsize`` a weight. Bitmask: a bit a weight and the survivors.
    CSR: survivors, a column index each, a pointer a row and one. N:M: N values in every group of M with the place of each
    in its group. Factors are dense in every form.
    """
    factors = modules.get("factored_parameters", pd.Series(0, index=modules.index)).fillna(0)
    masked = modules.parameters.where(factors == 0, 0)
    survivors = masked - modules.pruned
    slots = masked * n / m
    compressed = slots * itemsize + np.ceil(slots * _index_bits(m) / 8)
    forms = {
        "dense": masked * itemsize,
        "bitmask": survivors * itemsize + np.ceil(masked / 8),
        "CSR": survivors * (itemsize + INDEX_BYTES) + (modules.rows + 1) * INDEX_BYTES * (factors == 0),
        f"{n}:{m}": compressed.where((modules.fitting == 1) | (factors > 0)),
    }
    return pd.DataFrame({name: size + factors * itemsize for name, size in forms.items()})


def _index_bits(m: int) -> int:
    return math.ceil(math.log2(m))


def _unpacked(bits: np.ndarray, shape: tuple[int, int]) -> Bool[np.ndarray, "out in"]:
    return np.unpackbits(bits, count=shape[0] * shape[1]).astype(bool).reshape(shape)
