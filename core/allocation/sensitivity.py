"""Sensitivity: a block that can do least without its weights keeps most."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from pydantic import Field

from core.allocation.balance import balance, complete, sizes_of, spread
from core.allocation.base import Allocation, Measured, Measuring, Probe
from core.profile import ModelProfile

_LEAST, _MOST = 1e-6, 1e6
"""A block whose pruning costs less than the least, or even helps, counts as that; one that breaks the model as the most."""


class Sensitivity(Allocation):
    """The logarithm of what pruning a block alone costs, mapped linearly to ``[1 + epsilon, 1 - epsilon]``.

    Each block is pruned by itself to the target, with the run's own method and pattern and the inputs of the dense model,
    and put back. The cost is the error of its output, or by how much the model's loss on the calibration text rises.
    Logarithms, since costs differ by orders of magnitude: the first blocks' would leave all others alike.
    """

    name: ClassVar[str] = "sensitivity"
    title: ClassVar[str] = "Sensitivity"
    summary: ClassVar[str] = (
        "Each block is pruned alone, to see what that costs; the costlier, the less it loses. Measuring the loss takes long: "
        "for every block, half a forward of the model on the calibration text."
    )
    formula: ClassVar[str] = (
        r"s_b \propto 1 + \varepsilon - 2\varepsilon\,\frac{\ln c_b - \ln c_{\min}}{\ln c_{\max} - \ln c_{\min}}"
    )
    reads_text: ClassVar[bool] = True
    tries: ClassVar[bool] = True

    cost: Literal["loss", "error"] = Field(
        "loss",
        title="Cost",
        description="loss: the rise of the model's loss on the calibration text; error: the relative error of the block's "
        "output, which is measured much faster.",
    )
    epsilon: float = Field(
        0.15, ge=0, lt=1, title="Spread ε", description="How far the sparsities spread around the target: 0 is uniform."
    )

    @property
    def measured_by(self) -> tuple[str, ...]:
        return ("cost",)

    @property
    def measures(self) -> str:
        return "loss_alone" if self.cost == "loss" else "error_alone"

    def flops(self, profile: ModelProfile, tokens: int) -> float:
        forward = 2.0 * profile.prunable * tokens
        if self.cost == "error":
            return 2 * forward
        head = 2.0 * profile.vocabulary * profile.hidden_size * tokens
        return (2 + profile.blocks / 2) * forward + (1 + profile.blocks) * head

    def measure(self, probe: Probe) -> Measuring:
        cost = yield from probe.rise_in_loss() if self.cost == "loss" else probe.output_error()
        return dict.fromkeys(probe.weights, None if math.isnan(cost) else min(cost, _MOST))

    def sparsities(self, profile: ModelProfile, target: float, measured: Measured | None = None) -> dict[str, float]:
        costs = complete(profile, measured, f"{self.cost} when it is pruned alone")
        tolerance = {name: -math.log(max(cost, _LEAST)) for name, cost in costs.items()}
        return balance(spread(tolerance, self.epsilon), sizes_of(profile), target)
