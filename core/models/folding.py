"""Folds an order of inputs into the modules before: where that changes nothing, plain N:M holds without a permutation."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from core.models.groups import Call
from core.models.replay import unwrapped
from core.models.structure import PRUNABLE, read_weight, text_config, write_weight

_TOKENS = 16
_EXACT = {torch.float32: 1e-3, torch.float64: 1e-6}
"""How far the outputs may differ, relative to the largest, for another order of the same sums; a wrong fold is off by 1."""
_COARSE = 5e-2


@torch.no_grad()
def fold(model: PreTrainedModel, permutations: Mapping[str, torch.Tensor]) -> dict[str, list[str]]:
    """Reorders ``model`` in place so that the permuted modules it names read their inputs in the permuted order.

    ``permutations``: by full module name, new position -> input. A module's inputs are reordered together with the
    outputs of the modules of the same part that produce them (down_proj's with the rows of gate_proj and up_proj), where
    the part's output, tried on random tokens, stays what it was. Returns, for each module that could be, its producers.
    """
    names = {module: name for name, module in model.named_modules()}
    candidates = {
        name: found
        for name in permutations
        if (found := _producers(model, name, names, permutations[name])) is not None
    }
    calls = _calls(model, {part for part, _ in candidates.values()})
    folded = {}
    for name, (part, producers) in candidates.items():
        if _folds(part, calls[part], model.get_submodule(name), producers, permutations[name]):
            folded[name] = [names[producer] for producer in producers]
    return folded


def _producers(
    model: PreTrainedModel, name: str, names: Mapping[nn.Module, str], permutation: torch.Tensor
) -> tuple[nn.Module, list[nn.Module]] | None:
    """The part that holds ``name``, and the modules beside it with as many outputs as it has inputs."""
    part = model.get_submodule(name.rpartition(".")[0])
    beside: list[nn.Module] = [
        child for child in part.children() if isinstance(child, PRUNABLE) and names[child] != name
    ]
    producers = [child for child in beside if read_weight(child).shape[0] == len(permutation)]
    return (part, producers) if producers else None


def _calls(model: PreTrainedModel, parts: set[nn.Module]) -> dict[nn.Module, Call]:
    """What each part is called with, and makes of it, in one forward of the model on random tokens."""
    calls: dict[nn.Module, Call] = {}

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        calls[module] = Call(args, kwargs, unwrapped(output))

    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(text_config(model.config).vocab_size, (1, _TOKENS), generator=generator)
    with ExitStack() as hooks:
        for part in parts:
            hooks.callback(part.register_forward_hook(hook, with_kwargs=True).remove)
        model(input_ids=tokens.to(model.device), use_cache=False)
    return calls


def _folds(
    part: nn.Module, call: Call, consumer: nn.Module, producers: list[nn.Module], permutation: torch.Tensor
) -> bool:
    """Folds, and says so; undoes it where the part's output is another one."""
    _reorder(consumer, producers, permutation)
    output = unwrapped(part(*call.args, **call.kwargs))
    tolerance = _EXACT.get(output.dtype, _COARSE) * call.output.abs().max()
    if (output - call.output).abs().max() <= tolerance:
        return True
    _reorder(consumer, producers, permutation.argsort())
    return False


def _reorder(consumer: nn.Module, producers: list[nn.Module], permutation: torch.Tensor) -> None:
    order = permutation.to(read_weight(consumer).device)
    write_weight(consumer, read_weight(consumer)[:, order].clone())
    for producer in producers:
        write_weight(producer, read_weight(producer)[order].clone())
        bias = producer.bias
        if isinstance(bias, torch.Tensor):
            bias.copy_(bias[order].clone())
