"""The norm of each input feature."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from jaxtyping import Float

from core.lazy import torch
from core.statistics.base import Statistic


class Norm(Statistic):
    """``a_j = sqrt(sum_t X[t, j]^2 / n_seq)``: the L2 norm of input feature j, per sequence; shape [in], float32.

    Source: Wanda (arXiv 2306.11695), section 3; the authors' program divides by the number of sequences.
    """

    name: ClassVar[str] = "norm"

    def __init__(self, in_features: int, sequences: int, device: torch.device) -> None:
        super().__init__(in_features, sequences, device)
        self._squares = torch.zeros(in_features, device=device)

    def update(self, x: Float[torch.Tensor, "tokens in"]) -> None:
        if x.device.type == "cpu":  # in one go, without the squares in between: a third of the time
            self._squares += torch.from_numpy(np.einsum("ti,ti->i", x.numpy(), x.numpy()))
        else:
            self._squares += x.square().sum(dim=0)

    def finish(self) -> Float[torch.Tensor, " in"]:
        return (self._squares / self.sequences).sqrt()
