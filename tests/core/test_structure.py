import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, MixtralConfig, T5Config, T5ForConditionalGeneration
from transformers.pytorch_utils import Conv1D

from core.errors import InputError
from core.models.structure import decoder_blocks, profile, read_weight, write_weight
from tests.tiny_models import layers_of


def test_blocks_are_the_layers_of_each_family(tiny_model, family):
    model = tiny_model(family)
    blocks = decoder_blocks(model)
    assert [block.layer for block in blocks] == layers_of(model, family)
    assert [block.index for block in blocks] == list(range(len(blocks)))
    assert all(model.get_submodule(block.name) is block.layer for block in blocks)


def test_modules_are_all_linear_maps_but_the_head_in_model_order(tiny_model, family):
    model = tiny_model(family)
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.Linear, Conv1D)) and module is not model.get_output_embeddings()
    }
    found = [item for block in decoder_blocks(model) for item in block.modules.items()]
    assert found == list(linear.items())
    per_block = {"gpt2": 4, "gpt_neox": 4, "bloom": 4, "opt": 6, "phi": 6}.get(family, 7)
    assert len(found) == per_block * len(decoder_blocks(model))


def test_conv1d_is_read_and_written_transposed():
    module = Conv1D(3, 2)  # three outputs, two inputs, stored [in, out]
    stored = torch.arange(6.0).reshape(2, 3)
    module.weight.data.copy_(stored)
    assert read_weight(module).tolist() == [[0, 3], [1, 4], [2, 5]]
    write_weight(module, torch.tensor([[1.0, 2], [3, 4], [5, 6]]))
    assert module.weight.tolist() == [[1, 3, 5], [2, 4, 6]]


def test_writing_casts_to_the_modules_own_dtype_and_keeps_the_parameter():
    module = nn.Linear(2, 3).to(torch.bfloat16)
    parameter = module.weight
    write_weight(module, torch.full((3, 2), 1.001))
    assert module.weight is parameter
    assert parameter.requires_grad
    assert (parameter.dtype, parameter[0, 0].item()) == (torch.bfloat16, 1.0)


def test_profile_in_plain_numbers(tiny_model):
    model = tiny_model("gpt2")
    found = profile(model)
    assert (found.architecture, found.vocabulary, found.max_seqlen, found.blocks) == ("GPT2LMHeadModel", 128, 64, 2)
    assert found.labels == ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]
    first = found.modules[0]
    assert (first.name, first.block, first.shape) == ("transformer.h.0.attn.c_attn", 0, (96, 32))
    assert found.prunable == 2 * (96 * 32 + 32 * 32 + 128 * 32 + 32 * 128)
    # The head is tied to the embeddings: 128 tokens and 64 positions, counted once.
    assert found.parameters == found.prunable + (128 + 64) * 32 + 2 * (96 + 32 + 128 + 32 + 4 * 32) + 2 * 32


def test_the_profile_needs_no_weights(tiny_model):
    config = tiny_model("llama").config
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert profile(model) == profile(tiny_model("llama"))


def test_positions_without_bound_are_told(tiny_model):
    assert profile(tiny_model("bloom")).max_seqlen is None


def test_two_lists_of_blocks_are_refused():
    config = T5Config(vocab_size=64, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_decoder_layers=2, num_heads=2)
    with pytest.raises(InputError, match=r"one list of 2 decoder blocks, found: encoder\.block, decoder\.block"):
        decoder_blocks(T5ForConditionalGeneration(config))


def test_no_list_of_blocks_is_refused(tiny_model):
    model = tiny_model("llama")
    model.config.num_hidden_layers = 5
    with pytest.raises(InputError, match="one list of 5 decoder blocks, found: none"):
        decoder_blocks(model)


def test_fused_experts_are_refused_by_name():
    config = MixtralConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_local_experts=2,
    )
    with pytest.raises(InputError, match=r"model\.layers\.0\.mlp\.\S+ holds several matrices in one parameter"):
        decoder_blocks(AutoModelForCausalLM.from_config(config))
