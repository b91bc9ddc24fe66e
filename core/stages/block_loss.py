"""How far the output of a sub-block is from its dense one, and what each dense weight has to do with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from jaxtyping import Float

from core.lazy import torch

Run = Callable[[Mapping[str, "torch.Tensor"]], "torch.Tensor"]
"""The sub-block's output with these weights [out, in] by module name; gradients flow back to them."""


def loss_and_gradients(
    run: Run, dense: Mapping[str, Float[torch.Tensor, "out in"]], pruned: Float[torch.Tensor, "*shape"]
) -> tuple[float, dict[str, torch.Tensor], Float[torch.Tensor, "*shape"]]:
    """``mean((run(dense) - pruned)^2)``, its gradient in the dense weights, and ``run(dense)``; ``pruned``: the output with
    the pruned weights, which the gradient takes as given."""
    with torch.enable_grad():
        leaves = {name: weight.detach().requires_grad_() for name, weight in dense.items()}
        output = run(leaves).float()
        loss = (output - pruned.float()).square().mean()
        gradients = torch.autograd.grad(loss, list(leaves.values()))
    return float(loss.detach()), dict(zip(leaves, gradients, strict=True)), output.detach()


def block_loss(run: Run, weights: Mapping[str, torch.Tensor], target: Float[torch.Tensor, "*shape"]) -> float:
    """``mean((target - run(weights))^2)``; ``target``: the dense output."""
    return float((target - run(weights).float()).square().mean())
