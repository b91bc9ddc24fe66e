"""A small matrix as the product of two thinner ones, beside a sparse one with as many weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from core.lazy import torch
from core.lessons.example import dice
from core.methods.magnitude import Magnitude
from core.patterns import Unstructured
from core.stages.low_rank import LowRank
from core.statistics import InputStatistics


@dataclass(frozen=True)
class OneRank:
    """What a rank keeps: the weights of both factors, the share of ``sum S^2``, and ``|W - W'| / |W|`` of the product and of
    the matrix that keeps as many of its largest weights (None where that is all of them)."""

    rank: int
    parameters: int
    energy: float
    error: float
    sparse_error: float | None


@dataclass(frozen=True)
class Ranks:
    """``weight`` [out, in], its singular values, the chosen rank's factors and their product, and what every rank would keep."""

    weight: Float[np.ndarray, "out in"]
    singular: Float[np.ndarray, " r"]
    left: Float[np.ndarray, "out rank"]
    right: Float[np.ndarray, "rank in"]
    product: Float[np.ndarray, "out in"]
    ranks: tuple[OneRank, ...]

    @property
    def break_even(self) -> float:
        """The rank at which the factors have as many weights as the matrix."""
        return self.weight.size / sum(self.weight.shape)


def structured_weight(seed: int, shape: tuple[int, int], decay: float) -> Float[torch.Tensor, "out in"]:
    """Random directions whose singular values fall by ``decay`` from one to the next (1: all are alike), of mean square 1."""
    generator = dice(seed)
    small = min(shape)
    left = torch.linalg.qr(torch.randn(shape[0], small, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(shape[1], small, generator=generator)).Q
    singular = decay ** torch.arange(small)
    weight: torch.Tensor = (left * singular) @ right.T
    return weight / weight.square().mean().sqrt()


def ranks(seed: int, shape: tuple[int, int], decay: float, rank: int) -> Ranks:
    """The chosen rank, and all of them, by the stage itself (forced, since the example also shows what saves nothing)."""
    weight = structured_weight(seed, shape, decay)
    chosen = _stage(rank, shape).factor("example", weight)
    every = tuple(_one(weight, number) for number in range(1, min(shape) + 1))
    singular = torch.linalg.svdvals(weight).numpy()
    left, right, product = (part.numpy() for part in (chosen.left, chosen.right, chosen.left @ chosen.right))
    return Ranks(weight.numpy(), singular, left, right, product, every)


def _stage(rank: int, shape: tuple[int, int]) -> LowRank:
    return LowRank(rank_ratio=rank / min(shape), force=True)


def _one(weight: torch.Tensor, rank: int) -> OneRank:
    shape = (weight.shape[0], weight.shape[1])
    report = _stage(rank, shape).factor("example", weight).report
    parameters = int(report["factored_parameters"])
    sparse = _sparse_error(weight, parameters) if parameters < weight.numel() else None
    return OneRank(rank, parameters, report["energy"], report["weight_error"], sparse)


def _sparse_error(weight: torch.Tensor, kept: int) -> float:
    sparsity = 1 - kept / weight.numel()
    pruned = Magnitude().prune(weight, InputStatistics({}), Unstructured(group="layer"), sparsity)
    return float((weight - pruned.weight).norm() / weight.norm())
