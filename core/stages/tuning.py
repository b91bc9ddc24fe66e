"""Block-wise tuning: the surviving weights of a block learn to give what the dense block gave."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from core.lazy import torch
from core.reference import Reference
from core.registry import ADVANCED, titled
from core.stages.base import Report, Tuned, TuneStage, WholeBlock

Weights = Mapping[str, "torch.Tensor"]


class Tuning(TuneStage):
    """``min_W mean((f_{M W}(x) - y)^2)`` over the surviving weights of a whole block, by Adam, masks fixed.

    ``y`` is what the dense block makes of the dense model's hidden states (``dense``), or of the pruned model's, which it
    reads itself (``sparse``). Some calibration windows are held out: the weights kept are those of the epoch in which the
    error on them was lowest, the untuned ones if it never fell, and tuning ends early once it no longer falls. The rate falls
    linearly to 0 over all steps; norms and biases stay.

    Source: Guo et al. (arXiv 2402.12419), section 3. Deviations: held-out windows and early stop; no weight decay (the
    authors' program: 0.1), which would pull the survivors to zero and away from the output.
    """

    name: ClassVar[str] = "tuning"
    title: ClassVar[str] = "Block-wise tuning"
    summary: ClassVar[str] = (
        "Trains the surviving weights of each block for a few epochs on the calibration text, so that the whole block, with its "
        "attention and its nonlinearities, gives again what the dense one gave. Needs the memory of one block only."
    )
    formula: ClassVar[str] = r"\min_{W}\; \operatorname{mean}\left(f_{M \odot W}(x) - y\right)^2"
    reference: ClassVar[Reference] = Reference(
        key="guo2024ebft",
        title="EBFT: Effective and Block-Wise Fine-Tuning for Sparse LLMs",
        authors=("Song Guo", "Fan Wu", "Lei Zhang", "Xiawu Zheng", "Shengchuan Zhang", "Fei Chao", "Yiyu Shi", "Rongrong Ji"),
        year=2024,
        arxiv="2402.12419",
    )  # fmt: skip
    order: ClassVar[int] = 35

    epochs: int = Field(4, ge=1, le=1000, title="Epochs", description="Passes over the training windows, at most.")
    learning_rate: float = Field(
        2e-4, gt=0, le=1, title="Learning rate", description="Of Adam at the first step; it falls linearly to 0."
    )
    target: Literal["dense", "sparse"] = Field(
        "dense",
        title="Target",
        description="What the block should give: what the dense model has there, or what its own dense weights make of the pruned "
        "model's hidden states.",
        json_schema_extra=titled(
            {"dense": "The dense model's output", "sparse": "The dense block on the pruned stream"}
        ),
    )
    batch: int = Field(
        1,
        ge=1,
        le=1024,
        title="Windows a step",
        description="Calibration windows whose gradients are averaged for a step.",
    )
    held_out: float = Field(
        0.125,
        gt=0,
        le=0.5,
        title="Held out",
        description="Share of the calibration windows (at least one) that is not trained on but decides when to stop.",
    )
    patience: int = Field(
        2,
        ge=1,
        le=1000,
        title="Patience",
        description="Epochs without a lower error on the held-out windows after which tuning ends.",
        json_schema_extra=ADVANCED,
    )

    def flops(self, shape: tuple[int, int], tokens: int) -> float:
        return 6.0 * shape[0] * shape[1] * tokens * self.epochs

    def tune(self, block: WholeBlock) -> Iterator[str | Tuned]:
        held = max(1, round(block.windows * self.held_out))
        training, holdout = range(block.windows - held), range(block.windows - held, block.windows)
        first = {name: result.weight for name, result in block.pruned.items()}
        masks = {name: result.keep.to(first[name].dtype) for name, result in block.pruned.items()}
        weights = {name: weight.clone() for name, weight in first.items()}
        optimiser = torch.optim.Adam(list(weights.values()), self.learning_rate)
        steps = self.epochs * -(-len(training) // self.batch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: max(0.0, 1 - step / steps))
        best, report = first, Report()
        lowest = report["held_out_0"] = yield from _held_out(block, weights, holdout)
        lowest_at = 0
        for epoch in range(1, self.epochs + 1):
            losses: list[float] = []
            for step in _shuffled(training, epoch).split(self.batch):
                gradients = {name: torch.zeros_like(weight) for name, weight in weights.items()}
                for window in step.tolist():
                    losses.append(_add_gradients(block, weights, window, gradients))
                    yield f"epoch {epoch} of at most {self.epochs}, window {len(losses)} of {len(training)}"
                for name, weight in weights.items():
                    weight.grad = gradients[name].div_(len(step)).mul_(masks[name])
                optimiser.step()
                schedule.step()
            report[f"training_{epoch}"] = sum(losses) / len(losses)
            error = report[f"held_out_{epoch}"] = yield from _held_out(block, weights, holdout)
            if error < lowest:
                lowest, lowest_at = error, epoch
                best = {name: weight.detach() * masks[name] for name, weight in weights.items()}
            elif epoch - lowest_at >= self.patience:
                break
        report["held_out_lowest"] = lowest
        yield Tuned({name: replace(block.pruned[name], weight=weight) for name, weight in best.items()}, report)


def _shuffled(windows: Sequence[int], epoch: int) -> torch.Tensor:
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(epoch))
    return torch.tensor(windows)[order]


def _add_gradients(block: WholeBlock, weights: Weights, window: int, gradients: Weights) -> float:
    """Adds the gradient of a window's error to ``gradients``; returns the error."""
    with torch.enable_grad():
        leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        loss = block.loss(window, leaves)
        found = torch.autograd.grad(loss, list(leaves.values()))
    for name, gradient in zip(leaves, found, strict=True):
        gradients[name].add_(gradient)
    return float(loss.detach())


def _held_out(block: WholeBlock, weights: Weights, windows: Sequence[int]) -> Generator[str, None, float]:
    """The mean error on ``windows``."""
    total = 0.0
    for done, window in enumerate(windows, start=1):
        total += float(block.loss(window, weights))
        yield f"error on held-out window {done} of {len(windows)}"
    return total / len(windows)
