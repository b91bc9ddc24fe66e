"""The sum and the variance of each input feature."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float

from core.lazy import torch
from core.statistics.base import Statistic


class Total(Statistic):
    """``s_j = sum_t X[t, j] / n_seq``: the sum of input feature j, per sequence as ``norm`` is; shape [in], float32.

    Source: DSnoT (arXiv 2310.08915), section 3.2, as the authors' program scales it.
    """

    name: ClassVar[str] = "total"

    def __init__(self, in_features: int, sequences: int, device: torch.device) -> None:
        super().__init__(in_features, sequences, device)
        self._sums = torch.zeros(in_features, device=device)

    def update(self, x: Float[torch.Tensor, "tokens in"]) -> None:
        self._sums += x.sum(dim=0)

    def finish(self) -> Float[torch.Tensor, " in"]:
        return self._sums / self.sequences


class Variance(Statistic):
    """The variance of each input feature over all calibration tokens (divided by their number); shape [in], float32.

    Chunks are merged through their means (Chan et al., 1983), since the squares of loud features would swallow it.
    Deviation from the DSnoT program, which averages the variances within each batch: here no batch size matters.
    """

    name: ClassVar[str] = "variance"

    def __init__(self, in_features: int, sequences: int, device: torch.device) -> None:
        super().__init__(in_features, sequences, device)
        self._tokens = 0
        self._mean = torch.zeros(in_features, device=device)
        self._squares = torch.zeros(in_features, device=device)  # of the distances from the mean

    def update(self, x: Float[torch.Tensor, "tokens in"]) -> None:
        variance, mean = torch.var_mean(x, dim=0, correction=0)
        tokens = self._tokens + len(x)
        distance = mean - self._mean
        self._squares += variance * len(x) + distance.square() * (self._tokens * len(x) / tokens)
        self._mean += distance * (len(x) / tokens)
        self._tokens = tokens

    def finish(self) -> Float[torch.Tensor, " in"]:
        return self._squares / self._tokens
