"""Decoder blocks and prunable modules of any decoder-only model, found without naming an architecture."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from core.errors import InputError
from core.profile import ModelProfile, ModuleInfo

PRUNABLE = (nn.Linear, Conv1D)


@dataclass(frozen=True)
class Block:
    """A decoder block: its number, full name, and prunable modules by full name."""

    index: int
    name: str
    layer: nn.Module
    modules: dict[str, nn.Module]


def decoder_blocks(model: PreTrainedModel) -> list[Block]:
    """The decoder blocks of ``model``: the outermost ModuleList of ``num_hidden_layers`` modules.

    Raises InputError where there is none, or more than one, or a block holds weights that are not linear modules.
    """
    count = text_config(model.config).num_hidden_layers
    candidates = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == count
    ]
    outermost = [
        (name, layers)
        for name, layers in candidates
        if not any(name.startswith(f"{other}.") for other, _ in candidates)
    ]
    if len(outermost) != 1:
        found = ", ".join(name for name, _ in outermost) or "none"
        raise InputError(
            f"model = {type(model).__name__} is not a decoder-only model that can be pruned block by block: "
            f"it should hold one list of {count} decoder blocks, found: {found}."
        )
    prefix, layers = outermost[0]
    return [_block(index, f"{prefix}.{index}", layer) for index, layer in enumerate(layers)]


def _block(index: int, name: str, layer: nn.Module) -> Block:
    for path, parameter in layer.named_parameters():
        if parameter.dim() > 2:
            raise InputError(
                f"model: {name}.{path} holds several matrices in one parameter (shape {tuple(parameter.shape)}), "
                "which is not supported yet; choose a model without fused experts."
            )
    modules: dict[str, nn.Module] = {
        f"{name}.{path}": module for path, module in layer.named_modules() if isinstance(module, PRUNABLE)
    }
    if not modules:
        raise InputError(f"model: {name} has no linear module to prune.")
    return Block(index, name, layer, modules)


def text_config(config: PreTrainedConfig) -> PreTrainedConfig:
    return config.get_text_config(decoder=True)


def slices_logits(model: PreTrainedModel) -> bool:
    """Whether the model can make the logits of some positions only, as nearly every family of transformers can."""
    return "logits_to_keep" in inspect.signature(model.forward).parameters


def read_weight(module: nn.Module) -> Float[torch.Tensor, "out in"]:
    """The weight of a linear module as [out, in] in its own dtype (a view; Conv1D stores [in, out])."""
    weight: torch.Tensor = module.weight.detach()  # type: ignore[operator]
    return weight.T if isinstance(module, Conv1D) else weight


def write_weight(module: nn.Module, weight: Float[torch.Tensor, "out in"]) -> None:
    """Puts ``weight`` [out, in] into a linear module, cast to its dtype and moved to its device.

    In memory of its own: who else holds the old weight, as the dense model kept for the next run, keeps it as it was.
    """
    stored: torch.Tensor = module.weight  # type: ignore[assignment]
    fresh = torch.empty_like(stored, requires_grad=False)
    (fresh.T if isinstance(module, Conv1D) else fresh).copy_(weight)
    stored.data = fresh


def profile(model: PreTrainedModel) -> ModelProfile:
    """The plain numbers of ``model``; works on the meta device, where no weight is loaded."""
    blocks = decoder_blocks(model)
    config = text_config(model.config)
    return ModelProfile(
        architecture=type(model).__name__,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        max_seqlen=getattr(config, "max_position_embeddings", None),
        vocabulary=config.vocab_size,
        hidden_size=config.hidden_size,
        itemsize=next(model.parameters()).element_size(),
        modules=tuple(
            ModuleInfo(
                name=name,
                block=block.index,
                label=name.removeprefix(f"{block.name}."),
                shape=(read_weight(module).shape[0], read_weight(module).shape[1]),
            )
            for block in blocks
            for name, module in block.modules.items()
        ),
    )
