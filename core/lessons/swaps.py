"""LLM-Barber on one small MLP, pair by pair."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float

from core.lazy import torch
from core.lessons.example import dice, small_inputs, small_weights, statistics_of
from core.methods.base import Method
from core.patterns import Unstructured
from core.stages.barber import Barber, Granularity, gradient_roots
from core.stages.barber_steps import Pair, swap_pairs, swapped
from core.stages.base import Group
from core.stages.block_loss import block_loss, loss_and_gradients

INPUTS, HIDDEN = 4, 6
_SEQUENCES = 4
T = TypeVar("T")


@dataclass(frozen=True)
class Swaps:
    """The MLP's weights and metric by module, all pairs in order, and the masks and the loss before any swap and after each."""

    weights: Mapping[str, Float[np.ndarray, "out in"]]
    metrics: Mapping[str, Float[np.ndarray, "out in"]]
    pairs: tuple[Pair, ...]
    keeps: tuple[Mapping[str, Bool[np.ndarray, "out in"]], ...]
    losses: tuple[float, ...]

    @property
    def done(self) -> tuple[Pair, ...]:
        """The pairs that are swapped."""
        return tuple(pair for pair in self.pairs if pair.swapped)


def small_mlp(seed: int, method: Method, sparsity: float) -> Group:
    """``down(relu(up(x)))``, 4 inputs, 6 hidden, 4 outputs, pruned by ``method`` within each row; four sequences go through."""
    generator = dice(seed)
    dense = {
        "up": small_weights(HIDDEN, INPUTS, generator) / 2,
        "down": small_weights(INPUTS, HIDDEN, generator) / 2,
    }
    norms = 8 * (1 + 3 * torch.rand(INPUTS, generator=generator))
    inputs = small_inputs(norms, 0.5, generator)
    hidden = (inputs @ dense["up"].T).relu()
    stats = {"up": statistics_of(inputs), "down": statistics_of(hidden)}
    row = Unstructured(group="output")
    pruned = {name: method.prune(weight, stats[name], row, sparsity) for name, weight in dense.items()}
    sequences = inputs.chunk(_SEQUENCES)
    targets: list[torch.Tensor] = []

    def gradients() -> Iterator[tuple[float, Mapping[str, torch.Tensor]]]:
        for x in sequences:
            now = _run(x, {name: result.weight for name, result in pruned.items()})
            loss, found, target = loss_and_gradients(partial(_run, x), dense, now)
            targets.append(target)
            yield loss, found

    def losses(weights: Mapping[str, torch.Tensor]) -> Iterator[float]:
        for x, target in zip(sequences, targets, strict=True):
            yield block_loss(partial(_run, x), weights, target)

    return Group("mlp", dense, pruned, gradients, losses)


def swaps(seed: int, method: Method, sparsity: float, granularity: Granularity, threshold: float) -> Swaps:
    """What the stage does to the small MLP, one swap at a time."""
    group = small_mlp(seed, method, sparsity)
    stage = Barber(granularity=granularity, threshold=threshold)
    losses, roots = _returned(gradient_roots(group))
    metrics = {name: stage.metric_of(group.dense[name], root) for name, root in roots.items()}
    masks = [{name: pruned.keep for name, pruned in group.pruned.items()}]
    pairs = swap_pairs(metrics, masks[0], granularity, threshold)
    after = [_mean(losses)]
    for pair in pairs:
        if pair.swapped:
            masks.append(swapped(masks[-1], pair))
            weights = {
                name: stage.with_mask(group.dense[name], group.pruned[name], keep).weight
                for name, keep in masks[-1].items()
            }
            after.append(_mean(list(group.loss(weights))))
    return Swaps(
        {name: weight.numpy() for name, weight in group.dense.items()},
        {name: metric.numpy() for name, metric in metrics.items()},
        tuple(pairs),
        tuple({name: keep.numpy() for name, keep in mask.items()} for mask in masks),
        tuple(after),
    )


def _run(x: torch.Tensor, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
    return (x @ weights["up"].T).relu() @ weights["down"].T


def _mean(losses: list[float]) -> float:
    return sum(losses) / len(losses)


def _returned(steps: Generator[str, None, T]) -> T:
    """What a generator returns once it is through."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
