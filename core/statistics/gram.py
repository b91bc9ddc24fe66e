"""The Gram matrix of the inputs."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float

from core.errors import InputError
from core.lazy import torch
from core.products import add_square, mirror
from core.selection import is_finite
from core.statistics.base import InputStatistics, Statistic


class Gram(Statistic):
    """``H = (2 / n_seq) X^T X``, the Hessian of the layer's squared output error; shape [in, in], float32.

    Source: SparseGPT (arXiv 2301.00774), section 3.1.
    """

    name: ClassVar[str] = "gram"

    def __init__(self, in_features: int, sequences: int, device: torch.device) -> None:
        super().__init__(in_features, sequences, device)
        self._products = torch.zeros(in_features, in_features, device=device)

    def update(self, x: Float[torch.Tensor, "tokens in"]) -> None:
        add_square(self._products, x)

    def finish(self) -> Float[torch.Tensor, "in in"]:
        mirror(self._products)
        return self._products.mul_(2 / self.sequences)


def finite_gram(stats: InputStatistics) -> Float[torch.Tensor, "in in"]:
    """The Gram matrix of an input. Raises InputError where it holds NaN or infinity."""
    if not is_finite(stats["gram"]):
        raise InputError("The inputs hold values that are not finite; the model is broken, or its data type too small.")
    return stats["gram"]
