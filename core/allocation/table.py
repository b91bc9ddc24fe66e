"""Sparsities as text: CSV and JSON, keyed by module, in and out."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from core.errors import InputError
from core.profile import ModelProfile

_KEYS = ("module", "block")


def read_sparsities(text: str) -> dict[str, float]:
    """Sparsity by full module name or block number, from a JSON object, or a CSV with the columns module (or block) and
    sparsity. Raises InputError where it is neither."""
    text = text.removeprefix("\ufeff").strip()
    if not text:
        return {}
    pairs = _from_json(text) if text.startswith("{") else _from_csv(text)
    values: dict[str, float] = {}
    for key, value in pairs:
        try:
            values[str(key)] = float(value)
        except (TypeError, ValueError):
            raise InputError(f"values: {key} has the sparsity {value!r}, which is not a number.") from None
    return values


def _from_json(text: str) -> list[tuple[str, Any]]:
    try:
        return list(json.loads(text).items())
    except ValueError as error:
        raise InputError(
            f'values are not JSON ({error}); give an object such as {{"0": 0.4, "1": 0.6}}, or a CSV.'
        ) from None


def _from_csv(text: str) -> list[tuple[str, Any]]:
    try:
        rows = list(csv.reader(io.StringIO(text, newline=None)))
    except csv.Error as error:
        raise InputError(f"values are not a CSV that can be read ({error}).") from None
    columns = rows[0]
    key = next((name for name in _KEYS if name in columns), None)
    if key is None or "sparsity" not in columns:
        raise InputError(
            f"values: the CSV's columns are {', '.join(columns)}; it needs sparsity and one of {', '.join(_KEYS)}."
        )
    which, value = columns.index(key), columns.index("sparsity")
    return [(row[which], row[value]) for row in rows[1:] if len(row) == len(columns)]


def as_csv(sparsities: Mapping[str, float], profile: ModelProfile) -> str:
    lines = [f"{m.name},{m.block},{m.label},{m.parameters},{sparsities[m.name]!r}" for m in profile.modules]
    return "\n".join(["module,block,label,parameters,sparsity", *lines, ""])


def as_json(sparsities: Mapping[str, float]) -> str:
    return json.dumps(dict(sparsities), indent=2)


def condensed(sparsities: Mapping[str, float], profile: ModelProfile) -> dict[str, float]:
    """The same by block number, where each block's modules are alike; short enough for an address."""
    by_block: dict[str, set[float]] = {}
    for module in profile.modules:
        by_block.setdefault(str(module.block), set()).add(sparsities[module.name])
    if any(len(found) > 1 for found in by_block.values()):
        return dict(sparsities)
    return {block: found.pop() for block, found in by_block.items()}
