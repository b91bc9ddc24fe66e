"""Shapes checked at every call of core, tiny random models, and the authors' reference numbers."""

import copy
import functools
import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel  # before the hook, which slows down what core imports

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
importlib.import_module("shape_checks").install()

settings.register_profile("tests", deadline=None, max_examples=60)
settings.load_profile("tests")
torch.set_num_threads(1)  # tiny matrices; pytest-xdist uses the cores

VOCABULARY = 128
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}
_BLOOM = {"hidden_size": 32, "n_layer": 2, "n_head": 4}
_COMMON = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
# Sliding windows in some blocks only: every block needs its own mask, and in Gemma 3 its own positions.
_MIXED = _COMMON | {"head_dim": 8, "sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"]}
CONFIGS = {
    "llama": _COMMON | {"num_hidden_layers": 3},
    "opt": _COMMON | {"ffn_dim": 64, "word_embed_proj_dim": 32, "init_std": 0.1},
    "qwen2": _COMMON,
    "qwen3": _COMMON | {"head_dim": 16},
    "gemma": _COMMON | {"head_dim": 8, "num_key_value_heads": 1},
    "gemma2": _MIXED,
    "gemma3_text": _MIXED,
    "mistral": _COMMON | {"sliding_window": 8},
    "gpt2": _GPT2,
    "gpt_neox": _COMMON,
    "phi": _COMMON,
    "bloom": _BLOOM,
}
BLOCKS = {"opt": "model.decoder.layers", "gpt2": "transformer.h", "gpt_neox": "gpt_neox.layers", "bloom": "transformer.h"}


@functools.cache
def _model(family: str, **changes: object) -> PreTrainedModel:
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, **({"vocab_size": VOCABULARY, "initializer_range": 0.1} | CONFIGS.get(family, {}) | changes)
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # norms and biases that are not all ones and zeros
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture
def tiny_model():
    """A factory: a fresh random model of a family, on the CPU, in evaluation mode."""
    return lambda family, **changes: copy.deepcopy(_model(family, **changes))


@pytest.fixture(params=CONFIGS)
def family(request) -> str:
    return request.param


@pytest.fixture
def layers_of():
    """The decoder blocks of a tiny model by the path its family is known to keep them at."""
    return lambda model, family: list(model.get_submodule(BLOCKS.get(family, "model.layers")))


@pytest.fixture
def tokens() -> torch.Tensor:
    """Four windows of 24 token ids."""
    return torch.randint(0, VOCABULARY, (4, 24), generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="session")
def golden() -> dict[str, torch.Tensor]:
    """The reference numbers of tests/golden/layers.npz; their masks are True where a weight is pruned."""
    with np.load(HERE / "golden" / "layers.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}
