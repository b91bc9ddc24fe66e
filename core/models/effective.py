"""What every prunable module of a model multiplies by, factored or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from transformers import PreTrainedModel

from core.models.factors import FactoredLinear
from core.models.structure import Block, decoder_blocks, read_weight


class EffectiveWeight(NamedTuple):
    """A module's weight [out, in], float32; of a factored one the product. ``label`` is its name within its block."""

    module: str
    block: int
    label: str
    weight: torch.Tensor


def effective_weights(model: PreTrainedModel) -> Iterator[EffectiveWeight]:
    """Every module's, in order; both factors of one count as one module."""
    for name, block in effective_names(model).items():
        module = model.get_submodule(name)
        if isinstance(module, FactoredLinear):
            weight = module.left.weight.detach().float() @ module.right.weight.detach().float()
        else:
            weight = read_weight(module).float()
        yield EffectiveWeight(name, block.index, name.removeprefix(f"{block.name}."), weight)


def effective_names(model: PreTrainedModel) -> dict[str, Block]:
    """Their full names, in order, with the blocks they live in."""
    return {_whole(model, name): block for block in decoder_blocks(model) for name in block.modules}


def _whole(model: PreTrainedModel, name: str) -> str:
    """The module a factor belongs to; any other module is itself."""
    parent = name.rpartition(".")[0]
    return parent if isinstance(model.get_submodule(parent), FactoredLinear) else name
