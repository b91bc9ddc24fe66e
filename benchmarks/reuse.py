"""What a run waits for its dense model: ``python -m benchmarks.reuse``, for the embedded model.

In turns: read from its file again; from the model that a worker keeps; the same where code from outside is there, with
every matrix's checksum. Once as the file stores it (its matrices are maps of the file), once as bfloat16 (they are not).
Then every page of the weights is looked at once, as a run does: a new map's are found in the file again.
"""

from __future__ import annotations

import gc
import re
from pathlib import Path
from time import perf_counter

import torch

from benchmarks.numbers import Spread
from benchmarks.timing import console
from core.models import dense
from core.models.dense import DenseModels
from core.models.sources import Embedded, LoadedModel, ModelSource

ROUNDS = 5
_PAGE = 4096
_STATUS = Path("/proc/self/status")


def main() -> None:
    _touch(Embedded().load())  # imports, and brings the file into memory
    for source in (Embedded(), Embedded(dtype="bfloat16")):
        _show(source)


def _show(source: ModelSource) -> None:
    before, models = _private_mb(), DenseModels()
    kept = models.load(source)
    _touch(kept)
    size = sum(parameter.numel() * parameter.element_size() for parameter in kept.model.parameters()) / 2**20
    console.print(f"{source.label}, data type {source.dtype}: {size:.0f} MB, {torch.get_num_threads()} threads")
    console.print(f"memory kept beside the file's pages: {_private_mb() - before:.0f} MB")
    del kept
    ways = {
        "read again": source.load,
        "kept": lambda: models.load(source),
        "kept, with checksums": lambda: (dense._checksums(kept_model(models)), models.load(source))[1],
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            gc.collect()
            begin = perf_counter()
            loaded = way()
            given = perf_counter()
            _touch(loaded)
            found[name].append((given - begin, perf_counter() - given))
            del loaded
    for name, seconds in found.items():
        first, touched = (Spread.of([pair[part] for pair in seconds]).text(3) for part in (0, 1))
        console.print(f"{name:>22}: {first} s, all pages {touched} s")


def kept_model(models: DenseModels) -> object:
    assert models._kept is not None, "memory has no room for two models"
    return models._kept.loaded.model


def _touch(loaded: LoadedModel) -> None:
    for parameter in loaded.model.parameters():
        parameter.detach().view(torch.uint8).numpy().reshape(-1)[::_PAGE].sum()


def _private_mb() -> float:
    """This process's memory that no file stands behind; not a number where the system does not tell."""
    status = _STATUS.read_text() if _STATUS.exists() else ""
    told = re.search(r"RssAnon:\s+(\d+) kB", status)
    return int(told[1]) / 1024 if told else float("nan")


if __name__ == "__main__":
    main()
