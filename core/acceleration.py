"""2:4 acceleration: PyTorch's semi-structured weights, on the GPUs that have kernels for them."""

from __future__ import annotations

import time
from typing import NamedTuple

from jaxtyping import Int

from core.errors import InputError
from core.lazy import torch

_CAPABILITY = (8, 0)
_NEEDED = "NVIDIA GPU of compute capability 8.0 or newer (Ampere)"


def why_not(device: str, capability: tuple[int, int] | None = None) -> str | None:
    """One sentence why 2:4 weights bring no speed on ``device`` ("cpu", "cuda:0"); None where they do.

    ``capability``: the GPU's, where it is known.
    """
    kind = device.partition(":")[0]
    if kind != "cuda":
        return f"2:4 acceleration needs an {_NEEDED}; this model is on {kind}, for which PyTorch has no 2:4 kernel."
    if capability is not None and capability < _CAPABILITY:
        return f"2:4 acceleration needs an {_NEEDED}; this one has {capability[0]}.{capability[1]}."
    return None


class Acceleration(NamedTuple):
    """What was accelerated, and seconds per forward before and after."""

    modules: list[str]
    dense_seconds: float
    accelerated_seconds: float


def accelerate(model: torch.nn.Module) -> list[str]:
    """Puts semi-structured weights in the place of those that hold 2:4; returns the modules' names.

    Only where the pattern holds in the weights' own order can a kernel use it. Raises InputError where the model's device
    has no such kernels, or no module holds 2:4 in a shape they take.
    """
    weight = next(model.parameters())
    capability = torch.cuda.get_device_capability(weight.device) if weight.device.type == "cuda" else None
    if reason := why_not(str(weight.device), capability):
        raise InputError(reason)
    names = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and _fits(module)]
    if not names:
        raise InputError("No module holds 2:4 in its own order of inputs and a shape the kernels take; prune with 2:4.")
    for name in names:
        module = model.get_submodule(name)
        assert isinstance(module, torch.nn.Linear)
        sparse = torch.sparse.to_sparse_semi_structured(module.weight.detach())
        module.weight = torch.nn.Parameter(sparse, requires_grad=False)
    return names


def holds_two_of_four(weight: torch.Tensor) -> bool:
    """Whether of every four consecutive inputs at most two weights are not zero."""
    return weight.shape[1] % 4 == 0 and bool((weight.reshape(-1, 4).count_nonzero(dim=1) <= 2).all())


def _fits(module: torch.nn.Linear) -> bool:
    """The kernels take tiles of 32 × 64 in 16 bits, 32 × 32 in 32."""
    columns = 64 if module.weight.element_size() == 2 else 32
    rows_fit = module.weight.shape[0] % 32 == 0 and module.weight.shape[1] % columns == 0
    return rows_fit and holds_two_of_four(module.weight)


def measure(model: torch.nn.Module, windows: Int[torch.Tensor, "n seqlen"], repeats: int = 10) -> Acceleration:
    """Accelerates ``model`` in place and measures its forward on ``windows`` before and after (the median)."""
    before = _seconds(model, windows, repeats)
    names = accelerate(model)
    return Acceleration(names, before, _seconds(model, windows, repeats))


def _seconds(model: torch.nn.Module, windows: torch.Tensor, repeats: int) -> float:
    device = next(model.parameters()).device
    tokens, times = windows.to(device), []
    for _ in range(repeats + 2):  # the first two warm up
        started = time.perf_counter()
        with torch.no_grad():
            model(input_ids=tokens, use_cache=False)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - started)
    return sorted(times[2:])[repeats // 2]
