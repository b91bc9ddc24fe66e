"""The dense model that a process keeps, so that one run after another need not read it from disk."""

from __future__ import annotations

import copy
import logging
import threading
from typing import Any, NamedTuple

import psutil

from core.lazy import torch
from core.models.sources import LoadedModel, ModelSource

log = logging.getLogger(__name__)

_ROOM = 2.0
"""Of the model's size: what must be free beside it for its pruned weights and the work on them."""


class DenseModels:
    """Loads models, and keeps the last one where memory has room for it and a pruned one.

    What is handed out shares its matrices with the kept model. That is safe as long as nobody writes into a matrix in
    place; everything in core writes through ``write_weight``, which puts a new one there. Where a method from outside did
    write, torch's version counters tell, and the model is read again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: _Kept | None = None

    def load(self, source: ModelSource) -> LoadedModel:
        """The model of ``source``, to be changed at will. Raises InputError as ``ModelSource.load`` does."""
        key = f"{source.canonical()} {source.revision_key()}"
        with self._lock:
            if self._kept is None or self._kept.key != key or self._kept.was_written():
                self._kept = None  # before the next is loaded: there may be no room for both
                loaded = source.load()
                if not _has_room_beside(loaded.model):
                    return loaded
                self._kept = _Kept(key, loaded, _versions(loaded.model))
            kept = self._kept.loaded
            return LoadedModel(_sharing(kept.model), kept.tokenizer)


class _Kept(NamedTuple):
    key: str
    loaded: LoadedModel
    versions: list[int]

    def was_written(self) -> bool:
        """Whether somebody who shares a matrix changed it in place since."""
        if written := _versions(self.loaded.model) != self.versions:
            log.warning("A weight of the dense model was changed in place, by a method or stage; it is read again")
        return written


def _versions(model: Any) -> list[int]:
    return [parameter._version for parameter in model.parameters()]


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
