"""A block run on its own sees exactly what the model would give it, whatever the architecture."""

import pytest
import torch

from core.errors import InputError
from core.models.replay import capture, run_blocks
from core.models.structure import decoder_blocks
from tests.tiny_models import layers_of


def hidden_states(model, layers, tokens, batch_size):
    """What the model's own forward feeds into its first block, and out of every block, batch by batch."""
    seen = []

    def before(module, args, kwargs):
        seen.append([args[0] if args else kwargs["hidden_states"]])

    def after(module, args, output):
        seen[-1].append(output[0] if isinstance(output, tuple) else output)

    hooks = [layers[0].register_forward_pre_hook(before, with_kwargs=True)]
    hooks += [layer.register_forward_hook(after) for layer in layers]
    with torch.no_grad():
        for batch in tokens.split(batch_size):
            model(input_ids=batch)
    for hook in hooks:
        hook.remove()
    return seen


def assert_same_stream(model, layers, tokens, batch_size):
    expected = hidden_states(model, layers, tokens, batch_size)
    with torch.no_grad():
        stream = capture(model, decoder_blocks(model), tokens, batch_size)
        for step in range(len(layers) + 1):
            assert len(stream.hidden) == len(expected)
            for ours, theirs in zip(stream.hidden, expected, strict=True):
                assert torch.equal(ours, theirs[step]), f"after {step} blocks"
            if step < len(layers):
                list(stream.propagate(decoder_blocks(model)[step]))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_the_stream_equals_the_models_own_forward_bit_for_bit(tiny_model, tokens, family, batch_size):
    model = tiny_model(family)
    assert_same_stream(model, layers_of(model, family), tokens, batch_size)


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2"])
def test_the_stream_equals_the_models_own_forward_in_bfloat16(tiny_model, tokens, family):
    model = tiny_model(family).to(torch.bfloat16)
    assert_same_stream(model, layers_of(model, family), tokens, 3)


def test_capture_leaves_the_model_as_it_was(tiny_model, tokens, family):
    model = tiny_model(family)
    use_cache = model.config.use_cache
    before = model(input_ids=tokens).logits
    capture(model, decoder_blocks(model), tokens, 3)
    assert all("forward" not in layer.__dict__ for layer in layers_of(model, family))
    assert model.config.use_cache == use_cache
    assert torch.equal(model(input_ids=tokens).logits, before)


def test_capture_gives_a_wrapped_forward_back(tiny_model, tokens):
    """As accelerate wraps the forward of a layer it moves between devices."""
    model = tiny_model("llama")
    layer = layers_of(model, "llama")[1]
    layer.forward = wrapped = layer.forward
    capture(model, decoder_blocks(model), tokens, 3)
    assert layer.__dict__["forward"] is wrapped


def test_forwards_come_back_when_the_model_fails(tiny_model):
    model = tiny_model("llama")
    with pytest.raises(IndexError):
        capture(model, decoder_blocks(model), torch.full((1, 8), 10_000), 1)
    assert all("forward" not in layer.__dict__ for layer in layers_of(model, "llama"))


def test_hidden_states_that_change_between_blocks_are_refused(tiny_model, tokens):
    """As a model does that scales or adds something between two blocks."""
    model = tiny_model("llama")
    layers_of(model, "llama")[1].register_forward_pre_hook(lambda module, args: (args[0] * 0.5, *args[1:]))
    with pytest.raises(InputError, match="LlamaForCausalLM changes the hidden states between its blocks"):
        capture(model, decoder_blocks(model), tokens, 3)


def test_blocks_that_do_not_run_are_refused(tiny_model, tokens):
    model = tiny_model("llama")
    blocks = decoder_blocks(model)
    del model.model.layers[2]
    for run in (lambda: capture(model, blocks, tokens, 3), lambda: run_blocks(model, blocks, tokens)):
        with pytest.raises(InputError, match="did not run all of its 3 blocks"):
            run()


def test_the_end_of_the_blocks_makes_the_models_own_logits(tiny_model, tokens, family):
    """Some positions only, in any order; and a stream that went through the blocks one by one makes the same."""
    model, positions = tiny_model(family), torch.tensor([20, 3, 4])
    blocks = decoder_blocks(model)
    with torch.no_grad():
        expected = model(input_ids=tokens).logits[:, positions]
        assert torch.allclose(run_blocks(model, blocks, tokens).logits(positions), expected, atol=1e-6)
        stream = capture(model, blocks, tokens, 3)
        for block in blocks:
            list(stream.propagate(block))
        ends = list(stream.ends(model, blocks, tokens.split(3)))
        assert torch.allclose(torch.cat([end.logits(positions) for end in ends]), expected, atol=1e-6)
