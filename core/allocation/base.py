"""Layer-wise allocation: a target for the model becomes a sparsity for each module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from typing import Any, ClassVar, NamedTuple

from core.lazy import torch
from core.profile import ModelProfile
from core.registry import Component, component_field
from core.statistics import InputStatistics

Measured = Mapping[str, float | None]
"""By full module name; None where a module has nothing to measure."""
Measuring = Generator[str, None, Measured]
"""Says in words what it is doing, and returns what it measured."""


class InSpectra(NamedTuple):
    """A column of the table of a model's spectra, by one fit; of the model with its entries shuffled, where so."""

    fit: str
    column: str
    randomised: bool = False


class Probe(ABC):
    """A decoder block of the dense model, as an allocation may look at it and try things out; it stays as it was."""

    weights: Mapping[str, torch.Tensor]
    """The block's weights [out, in], float32, by full module name."""
    statistics: Mapping[str, InputStatistics]
    """What the allocation ``needs`` of the modules' inputs in the dense model, by full module name."""

    @abstractmethod
    def output_error(self) -> Generator[str, None, float]:
        """``|f(X) - f'(X)| / |f(X)|`` of the block's output once this block alone is pruned as the run would prune it."""

    @abstractmethod
    def rise_in_loss(self) -> Generator[str, None, float]:
        """By how much the model's mean loss (nats) on the calibration text rises once this block alone is pruned."""


class Allocation(Component):
    """Spreads a target sparsity over the modules; the parameter-weighted mean is the target, to 1e-6."""

    kind: ClassVar[str] = "allocation"
    summary: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    """Names of the statistics that ``measure`` reads."""
    reads_text: ClassVar[bool] = False
    """Whether what is measured depends on the calibration text."""
    tries: ClassVar[bool] = False
    """Whether it prunes blocks to see what happens, so that it depends on method, pattern and sparsity."""

    @property
    def measured_by(self) -> tuple[str, ...]:
        """The parameters that decide what ``measure`` finds; the others only decide what is made of it."""
        return ()

    @property
    def measures(self) -> str | None:
        """What has to be measured of the dense model first, in a word; None where the profile is enough."""
        return None

    def measure(self, probe: Probe) -> Measuring:
        """The quantity on which the allocation rests, of every module of a block."""
        yield from ()
        return {}

    @property
    def in_spectra(self) -> InSpectra | None:
        """Where the tables of spectra hold what ``measure`` gives; None where they do not."""
        return None

    def flops(self, profile: ModelProfile, tokens: int) -> float:
        """About how many operations ``measure`` takes on a model, with ``tokens`` of calibration text."""
        return 0.0

    def measuring(self) -> dict[str, Any]:
        """What decides the measured values, as plain data."""
        chosen = {name: getattr(self, name) for name in self.measured_by}
        return {self.kind: self.name, "version": self.version, **chosen}

    @abstractmethod
    def sparsities(self, profile: ModelProfile, target: float, measured: Measured | None = None) -> dict[str, float]:
        """Sparsity in [0, 1) by full module name. Raises InputError where the target cannot be met."""


AnyAllocation = component_field(Allocation)
