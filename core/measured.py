"""What allocations rest on, kept for good: measured once for a model, then known to every run and to the studio."""

from __future__ import annotations

import hashlib
import json
from math import isnan
from typing import Any

from core.allocation.base import Measured
from core.config import Identity, RunConfig
from core.measurements.spectra import Spectra
from core.store import Store


def measured_values(config: RunConfig, identity: Identity, store: Store) -> dict[str, float | None] | None:
    """What was measured for this config's allocation, by full module name; None where it was not measured yet.

    From the dense model's spectra where the store has them and they hold it.
    """
    allocation = config.allocation
    if allocation.measures is None:
        return {}
    if known := store.fact(measured_key(config, identity)):
        return known
    where = allocation.in_spectra
    if where is None:
        return None
    spectra = Spectra(model=config.model, revision=identity.model_revision, randomised=where.randomised)
    if not spectra.known(store):
        return None
    table = spectra.table(store, where.fit)
    return {
        name: None if isnan(value) else value for name, value in zip(table.module, table[where.column], strict=True)
    }


def remember_measured(config: RunConfig, identity: Identity, store: Store, measured: Measured) -> None:
    """Keeps what was measured for this config's allocation."""
    if config.allocation.measures is not None:
        store.remember(measured_key(config, identity), dict(measured))


def measured_key(config: RunConfig, identity: Identity) -> str:
    """Of everything that decides the measured values."""
    allocation = config.allocation
    basis: dict[str, Any] = {
        **allocation.measuring(),
        "model": config.model.canonical(),
        "revision": identity.model_revision,
    }
    if allocation.reads_text:
        basis["calibration"] = config.calibration.model_dump(mode="json", exclude={"batch_size"})
        basis["text"] = identity.calibration_fingerprint
    if allocation.tries:
        tried = (config.method, config.pattern)
        basis["tried"] = [config.sparsity, *((part.version, part.dump()) for part in tried)]
    text = json.dumps(basis, sort_keys=True)
    return f"measured {hashlib.sha256(text.encode()).hexdigest()[:32]}"
