"""The dense model that a process keeps, so that one run after another need not read it from disk."""

from __future__ import annotations

import copy
import logging
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psutil

from core.lazy import torch
from core.models.sources import LoadedModel, ModelSource
from core.registry import Component

log = logging.getLogger(__name__)

_ROOM = 2.0
"""Of the model's size: what must be free beside it for its pruned weights and the work on them."""


class DenseModels:
    """Loads models, and keeps the last one where memory has room for it and a pruned one.

    What is handed out is a model of its own (modules, vectors, buffers, hooks, config) that shares its matrices with the
    kept one: a run leaves nothing behind, however it ends, and there is nothing to restore. That is safe as long as nobody
    writes into a matrix in place; everything in core writes through ``write_weight``, which puts a new one there. Where
    something did write, torch's version counters tell, and the model is read again. They do not see what goes through
    ``.data`` or numpy, so where code from outside (a plugin) is there, the matrices' checksums are compared as well; or,
    where the matrices are maps of their file, nothing is kept, since a new map is there as soon as the checksums and safe
    by itself.

    What keeping costs: the matrices that a run replaces exist twice while it runs, so at most the model's size. Matrices
    that are maps of their file (safetensors, loaded on the CPU in the data type they are stored in) are page cache, which
    the system takes back when it must. One model is kept; it goes before another is loaded, and when memory has no room
    beside it. ``python -m benchmarks.reuse`` has the seconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: _Kept | None = None

    def load(self, source: ModelSource) -> LoadedModel:
        """The model of ``source``, to be changed at will. Raises InputError as ``ModelSource.load`` does."""
        key = f"{source.canonical()} {source.revision_key()}"
        with self._lock:
            outside = _outside()
            if self._kept is None or not self._kept.serves(key, outside):
                self._kept = None  # before the next is loaded: there may be no room for both
                loaded = source.load()
                mapped = _mapped(loaded.model)
                if outside and mapped:
                    return loaded
                self._kept = _Kept(key, loaded, _versions(loaded.model), mapped)
            kept = self._kept
            if not _has_room_beside(kept.loaded.model):
                self._kept = None
                return kept.loaded
            if outside and kept.checksums is None:
                kept.checksums = _checksums(kept.loaded.model)
            return LoadedModel(_sharing(kept.loaded.model), kept.loaded.tokenizer)


@dataclass
class _Kept:
    key: str
    loaded: LoadedModel
    versions: list[int]
    mapped: bool
    checksums: list[int] | None = None
    """Taken before code from outside gets the model for the first time."""

    def serves(self, key: str, outside: bool) -> bool:
        """Whether it is the model of ``key``, as it was read, and may be shared with code from outside, where there is any."""
        return self.key == key and not (outside and self.mapped) and not self.was_written()

    def was_written(self) -> bool:
        """Whether somebody who shares a matrix changed it in place since."""
        written = _versions(self.loaded.model) != self.versions or (
            self.checksums is not None and _checksums(self.loaded.model) != self.checksums
        )
        if written:
            log.warning("A weight of the dense model was changed in place, by a method or stage; it is read again")
        return written


def _versions(model: Any) -> list[int]:
    return [parameter._version for parameter in model.parameters()]


def _checksums(model: Any) -> list[int]:
    """Of every matrix's bytes, about 3 GB a second and thread."""
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # zlib lets other threads run
        return list(pool.map(_checksum, (parameter for parameter in model.parameters() if parameter.dim() > 1)))


def _checksum(matrix: Any) -> int:
    return zlib.crc32(matrix.detach().cpu().contiguous().view(torch.uint8).numpy())


def _mapped(model: Any) -> bool:
    """Whether every matrix lies in memory that torch did not make itself, which is that of the mapped file.

    Told right after loading only: torch says the same of its own memory once numpy has seen it.
    """
    return not any(parameter.untyped_storage().resizable() for parameter in model.parameters() if parameter.dim() > 1)


def _outside() -> bool:
    """Whether this process has methods, stages or the like that are not ours."""
    return any(not cls.__module__.startswith("core.") for cls in _descendants(Component))


def _descendants(cls: type[Any]) -> Iterator[type[Any]]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)


def _sharing(model: Any) -> Any:
    """A copy of ``model`` whose matrices are the same memory; vectors (norms, biases) and buffers are its own."""
    shared = {
        id(parameter): torch.nn.Parameter(parameter.detach(), parameter.requires_grad)
        for parameter in model.parameters()
        if parameter.dim() > 1
    }
    return copy.deepcopy(model, shared)


def _has_room_beside(model: Any) -> bool:
    size = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    on_cpu = model.device.type == "cpu"
    free = psutil.virtual_memory().available if on_cpu else torch.accelerator.get_memory_info(model.device)[0]
    return bool(free > _ROOM * size)
