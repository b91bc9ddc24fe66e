"""A linear map as the product of two thinner ones, in a model and in a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

RANKS_FILE = "low_rank.json"
"""In a saved folder: the rank of each module that was replaced, by full name."""
_PATTERN = "low_rank_model{suffix}.safetensors"
"""Named otherwise than a dense model's weights, so that no other program fills the gaps with random numbers."""


class FactoredLinear(nn.Module):
    """``x -> (x right^T) left^T + bias``: a linear map [out, in] of some rank."""

    def __init__(self, in_features: int, rank: int, out_features: int, bias: bool, like: torch.Tensor) -> None:
        super().__init__()
        self.right = nn.Linear(in_features, rank, bias=False, dtype=like.dtype, device=like.device)
        self.left = nn.Linear(rank, out_features, bias=bias, dtype=like.dtype, device=like.device)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.left(self.right(x))
        return output


def replace(
    model: PreTrainedModel,
    name: str,
    left: Float[torch.Tensor, "out rank"],
    right: Float[torch.Tensor, "rank in"],
) -> None:
    """Puts the product in the place of the linear module ``name``, keeping its bias."""
    factored = _skeleton(model.get_submodule(name), right.shape[0])
    with torch.no_grad():
        factored.right.weight.copy_(right)
        factored.left.weight.copy_(left)
        if factored.left.bias is not None:
            factored.left.bias.copy_(model.get_submodule(name).bias)  # type: ignore[arg-type]
    model.set_submodule(name, factored)


def replace_all(model: PreTrainedModel, ranks: Mapping[str, int]) -> None:
    """Puts empty factors of the given ranks in the place of modules, for weights to be loaded into."""
    for name, rank in ranks.items():
        model.set_submodule(name, _skeleton(model.get_submodule(name), rank))


def _skeleton(module: nn.Module, rank: int) -> FactoredLinear:
    weight: torch.Tensor = module.weight  # type: ignore[assignment]
    out_features, in_features = weight.T.shape if isinstance(module, Conv1D) else weight.shape
    factored = FactoredLinear(in_features, rank, out_features, module.bias is not None, weight)
    return factored.train(module.training)


def save_factored(model: PreTrainedModel, ranks: Mapping[str, int], folder: Path) -> None:
    """Writes config, ranks and weights of a model with factors."""
    from huggingface_hub import save_torch_model

    model.config.save_pretrained(folder)
    (folder / RANKS_FILE).write_text(json.dumps(ranks, indent=2), encoding="utf-8")
    save_torch_model(model, folder, filename_pattern=_PATTERN)


def load_factored(model: PreTrainedModel, ranks: Mapping[str, int], folder: Path) -> list[str]:
    """Makes a model of random weights the one that ``folder`` holds; returns the weights it lacks."""
    from huggingface_hub import load_torch_model

    replace_all(model, ranks)
    missing = load_torch_model(model, folder, filename_pattern=_PATTERN).missing_keys  # type: ignore[attr-defined]
    weights = dict(model.named_parameters(remove_duplicate=False))
    loaded = {weight.data_ptr() for name, weight in weights.items() if name not in missing}
    return [name for name in missing if weights[name].data_ptr() not in loaded]  # tied ones are there


def ranks_in(folder: Path) -> dict[str, int]:
    """The ranks a saved folder names; empty where it holds a dense model."""
    file = folder / RANKS_FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def ranks_of(model: PreTrainedModel) -> dict[str, int]:
    """The rank of each factored module by full name."""
    return {
        name: module.right.out_features for name, module in model.named_modules() if isinstance(module, FactoredLinear)
    }
