"""Collects the statistics of a block's modules, once per distinct input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from core.lazy import torch
from core.statistics.base import STATISTICS, InputStatistics, Statistic


class AllRead(Exception):
    """Every module has read its input; what the block would still compute is of no use."""


class Collector:
    """Watches modules while their block runs; modules that read the very same tensor share one set of statistics.

    Use as a context manager: hooks are removed on the way out, whatever happens. Call ``next_batch`` before every
    forward of the block. With ``stop`` AllRead is raised out of that forward as soon as each module has read once.
    """

    def __init__(
        self, modules: Mapping[str, torch.nn.Module], needs: Iterable[str], sequences: int, stop: bool = False
    ) -> None:
        self._modules, self._stop = modules, stop
        self._needs = sorted(needs)
        self._sequences = sequences
        self._source: dict[str, str] = {}  # module -> the module whose statistics it shares
        self._running: dict[str, list[Statistic]] = {}
        self._batch: list[tuple[torch.Tensor, str]] = []
        self._read: set[str] = set()
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def __enter__(self) -> Self:
        for name, module in self._modules.items():
            self._hooks.append(module.register_forward_pre_hook(self._watch(name)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self.next_batch()

    def next_batch(self) -> None:
        self._batch.clear()
        self._read.clear()

    def finish(self) -> dict[str, InputStatistics]:
        """The statistics by module name; modules with the same input hold the same object."""
        silent = self._modules.keys() - self._source.keys()
        if silent:
            raise RuntimeError(f"{sorted(silent)[0]} read no calibration token, so nothing is known of its input.")
        shared = {
            source: InputStatistics({s.name: s.finish() for s in statistics})
            for source, statistics in self._running.items()
        }
        return {name: shared[self._source[name]] for name in self._modules}

    def _watch(self, name: str) -> Any:
        def hook(module: torch.nn.Module, args: tuple[Any, ...]) -> None:
            x: torch.Tensor = args[0]
            source = next((other for seen, other in self._batch if seen is x), name)
            if self._source.setdefault(name, source) != source:
                raise RuntimeError(f"{name} shared its input with {self._source[name]} in one batch, not in another.")
            if source == name:
                self._batch.append((x, name))
                self._update(name, x.reshape(-1, x.shape[-1]).float())
            self._read.add(name)
            if self._stop and len(self._read) == len(self._modules):
                raise AllRead

        return hook

    def _update(self, name: str, x: torch.Tensor) -> None:
        if name not in self._running:
            self._running[name] = [STATISTICS[need](x.shape[1], self._sequences, x.device) for need in self._needs]
        for statistic in self._running[name]:
            statistic.update(x)
