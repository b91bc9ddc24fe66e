"""Tiny random models of many architectures, made from their configs; nothing is downloaded."""

import copy
import functools
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 128

_COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
# Sliding windows in some blocks only: every block needs its own mask, and in Gemma 3 its own positions.
_MIXED = _COMMON | {"head_dim": 8, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
_CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _COMMON | {"num_hidden_layers": 3},
    "opt": _COMMON | {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.1},
    "qwen2": _COMMON,
    "qwen3": _COMMON | {"head_dim": 16},
    "gemma": _COMMON | {"head_dim": 8, "num_key_value_heads": 1},
    "gemma2": _MIXED,
    "gemma3_text": _MIXED,
    "mistral": _COMMON | {"sliding_window": 8},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0},
    "gpt_neox": _COMMON,
    "phi": _COMMON,
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
}
FAMILIES = list(_CONFIGS)

_LAYERS = {
    "opt": "model.decoder.layers",
    "gpt2": "transformer.h",
    "gpt_neox": "gpt_neox.layers",
    "bloom": "transformer.h",
}


def tiny_model(family: str, **changes: Any) -> PreTrainedModel:
    """A fresh model of ``family``, always the same one, in evaluation mode."""
    return copy.deepcopy(_model(family, **changes))


def layers_of(model: PreTrainedModel, family: str) -> list[nn.Module]:
    """The decoder blocks, from where the family is known to keep them."""
    return list(model.get_submodule(_LAYERS.get(family, "model.layers")).children())


@functools.cache
def _model(family: str, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "initializer_range": 0.1} | _CONFIGS[family] | changes
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms and biases that are not all ones and zeros
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model
