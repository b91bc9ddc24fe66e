"""What is measured of a module's calibration input."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from jaxtyping import Float

from core.lazy import torch
from core.registry import Registry

STATISTICS: Registry[Statistic] = Registry("statistic")


class Statistic(ABC):
    """Accumulates one quantity of the input X [tokens, in] of a module, chunk by chunk.

    A subclass with a ``name`` is found under that name by every method that lists it in ``needs``.
    """

    name: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            STATISTICS.add(cls.name, cls)

    def __init__(self, in_features: int, sequences: int, device: torch.device) -> None:
        """``sequences``: how many calibration sequences all chunks together hold."""
        self.in_features, self.sequences, self.device = in_features, sequences, device

    @abstractmethod
    def update(self, x: Float[torch.Tensor, "tokens in"]) -> None:
        """Adds a chunk of inputs, float32."""

    @abstractmethod
    def finish(self) -> torch.Tensor:
        """The quantity over all chunks seen."""


class InputStatistics:
    """The finished statistics of one distinct input, shared by all modules that read it (q, k and v, say)."""

    def __init__(self, values: dict[str, torch.Tensor]) -> None:
        self._values = values
        self._derived: dict[Any, Any] = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._values:
            raise KeyError(
                f"The statistic {name!r} was not collected; add it to the method's needs (collected: {sorted(self._values)})."
            )
        return self._values[name]

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def derived(self, key: Any, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What follows from the statistics alone (a factorisation), computed once for all modules that share them."""
        if key not in self._derived:
            self._derived[key] = compute()
        return self._derived[key]  # type: ignore[no-any-return]
