"""A few inputs as they are, to measure the reconstruction error on."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float

from core.lazy import torch
from core.statistics.base import Statistic

SAMPLE_TOKENS = 64


class Sample(Statistic):
    """The first 64 calibration tokens' inputs; shape [min(64, tokens), in]. The same tokens whatever the batch size."""

    name: ClassVar[str] = "sample"

    def __init__(self, in_features: int, sequences: int, device: torch.device) -> None:
        super().__init__(in_features, sequences, device)
        self._chunks: list[torch.Tensor] = []
        self._room = SAMPLE_TOKENS

    def update(self, x: Float[torch.Tensor, "tokens in"]) -> None:
        if self._room > 0:
            self._chunks.append(x[: self._room].clone())
            self._room -= len(self._chunks[-1])

    def finish(self) -> Float[torch.Tensor, "sample in"]:
        return torch.cat(self._chunks)
