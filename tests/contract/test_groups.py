"""The parts of a block that a stage refines together: what they are, their losses and their gradients."""

import copy

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from core.models.groups import SubBlockRun, sub_blocks
from core.models.replay import capture
from core.models.structure import decoder_blocks, read_weight, write_weight

PARTS = {
    "llama": {
        "self_attn": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"],
        "mlp": ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
    },
    "opt": {
        "self_attn": ["self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj", "self_attn.out_proj"],
        "block": ["fc1", "fc2"],
    },
    "gpt2": {"attn": ["attn.c_attn", "attn.c_proj"], "mlp": ["mlp.c_fc", "mlp.c_proj"]},
}


@pytest.mark.parametrize("family", PARTS)
def test_the_parts_of_a_block(tiny_model, family):
    block = decoder_blocks(tiny_model(family))[1]
    parts = {part.name: [name.removeprefix(f"{block.name}.") for name in part.modules] for part in sub_blocks(block)}
    assert parts == PARTS[family]
    assert list(parts) == list(PARTS[family]), "attention first"


def test_every_module_is_in_one_part(tiny_model, family):
    for block in decoder_blocks(tiny_model(family)):
        inside = [name for part in sub_blocks(block) for name in part.modules]
        assert sorted(inside) == sorted(block.modules)


def halved(model) -> dict[str, torch.Tensor]:
    """Zeroes half of each weight of the second block; returns the dense ones."""
    block, generator = decoder_blocks(model)[1], torch.Generator().manual_seed(4)
    dense = {name: read_weight(module).clone() for name, module in block.modules.items()}
    for name, module in block.modules.items():
        write_weight(module, dense[name] * (torch.rand(dense[name].shape, generator=generator) < 0.5))
    return dense


@pytest.fixture(autouse=True)
def as_the_engine_runs():
    """Nothing keeps gradients but what takes them."""
    with torch.no_grad():
        yield


@pytest.fixture
def in_the_second_block(tiny_model, tokens):
    """A factory: (sub-block, stream that stands before its block, dense weights of the block, loss by plain autograd)."""

    def make(family: str, name: str):
        model = tiny_model(family)
        dense = halved(model)
        blocks = decoder_blocks(model)
        stream = capture(model, blocks, tokens, 1)
        list(stream.propagate(blocks[0]))
        return next(part for part in sub_blocks(blocks[1]) if part.name == name), stream, dense

    return make


def plain(part, stream, dense, weights=None):
    """For each batch the loss and its gradients: a copy of the part with the dense weights of its modules, called as the
    part itself is; against what the part returns, or would return with ``weights``."""
    calls = []
    hook = part.part.register_forward_hook(
        lambda _, args, kwargs, output: calls.append((args, kwargs, output)), with_kwargs=True
    )
    list(stream.forward(part.block))
    hook.remove()
    paths = {id(module): path for path, module in part.part.named_modules()}
    copies = [copy.deepcopy(part.part), copy.deepcopy(part.part)]
    for target, chosen in zip(copies, (dense, weights or {}), strict=True):
        for name, module in part.modules.items():
            if name in chosen:
                write_weight(target.get_submodule(paths[id(module)]), chosen[name])
    for args, kwargs, output in calls:
        copies[0].zero_grad()
        output = copies[1](*args, **kwargs) if weights else output
        with torch.enable_grad():
            whole = copies[0](*args, **kwargs)
            whole, output = (value[0] if isinstance(value, tuple) else value for value in (whole, output))
            loss = ((whole - output) ** 2).mean()
            loss.backward()
        gradients = {}
        for name, module in part.modules.items():
            gradient = copies[0].get_submodule(paths[id(module)]).weight.grad.clone()
            gradients[name] = gradient.T if isinstance(module, Conv1D) else gradient
        yield float(loss.detach()), gradients


CASES = [(family, name) for family, parts in PARTS.items() for name in parts]


@pytest.mark.parametrize(("family", "name"), CASES)
def test_losses_and_gradients_are_those_of_plain_autograd(in_the_second_block, family, name):
    part, stream, dense = in_the_second_block(family, name)
    dense = {module: dense[module] for module in part.modules}
    ours = list(SubBlockRun(part, stream, dense).gradients())
    theirs = list(plain(part, stream, dense))
    assert len(ours) == len(theirs) == 4
    for (loss, gradients), (plain_loss, plain_gradients) in zip(ours, theirs, strict=True):
        assert loss == pytest.approx(plain_loss, rel=1e-5)
        assert loss > 0
        assert list(gradients) == list(part.modules)
        for module, gradient in gradients.items():
            assert gradient.shape == dense[module].shape
            torch.testing.assert_close(gradient, plain_gradients[module], rtol=1e-4, atol=1e-8)
    assert not any(parameter.requires_grad and parameter.grad is not None for parameter in part.part.parameters())


@pytest.mark.parametrize(("family", "name"), [("llama", "mlp"), ("opt", "block"), ("gpt2", "attn")])
def test_gradients_are_finite_differences(in_the_second_block, family, name):
    """The loss is smooth: nudging a weight up and down by h changes it by 2 h times the gradient."""
    part, stream, dense = in_the_second_block(family, name)
    dense = {module: dense[module] for module in part.modules}
    _, gradients = next(SubBlockRun(part, stream, dense).gradients())
    for module, gradient in gradients.items():
        place = divmod(int(gradient.abs().argmax()), gradient.shape[1])  # where rounding matters least
        losses = []
        for step in (0.02, -0.02):
            nudged = dense[module].clone()
            nudged[place] += step
            losses.append(next(SubBlockRun(part, stream, dense | {module: nudged}).gradients())[0])
        assert (losses[0] - losses[1]) / 0.04 == pytest.approx(float(gradient[place]), rel=0.02)


@pytest.mark.parametrize(("family", "name"), CASES)
def test_losses_with_other_weights(in_the_second_block, family, name):
    part, stream, dense = in_the_second_block(family, name)
    dense = {module: dense[module] for module in part.modules}
    run = SubBlockRun(part, stream, dense)
    list(run.gradients())
    weights = {module: weight * (weight > 0) for module, weight in dense.items()}
    theirs = [loss for loss, _ in plain(part, stream, dense, weights)]
    assert list(run.losses(weights)) == pytest.approx(theirs, rel=1e-5)
    assert list(run.losses(dense)) == pytest.approx([0] * 4, abs=1e-12)


@pytest.mark.parametrize(("family", "name"), CASES)
def test_losses_on_the_way_to_the_blocks_end(in_the_second_block, family, name):
    part, stream, dense = in_the_second_block(family, name)
    dense = {module: dense[module] for module in part.modules}
    to_part, to_end = SubBlockRun(part, stream, dense), SubBlockRun(part, stream, dense, to_the_end=True)
    for run in (to_part, to_end):
        list(run.gradients())
    weights = {module: weight * (weight > 0) for module, weight in dense.items()}
    assert list(to_end.losses(weights)) == list(to_part.losses(weights))
    assert to_part.outputs(weights) == []
    assert to_end.outputs({module: weight.clone() for module, weight in weights.items()}) == [], (
        "not these very weights"
    )
    for module, weight in part.modules.items():
        write_weight(weight, weights[module])
    outputs = to_end.outputs(weights)
    assert len(outputs) == 4
    assert all(torch.equal(*pair) for pair in zip(outputs, stream.forward(part.block), strict=True))


def test_nothing_is_changed_and_no_hook_stays(in_the_second_block):
    part, stream, dense = in_the_second_block("llama", "mlp")
    before = {name: read_weight(module).clone() for name, module in part.modules.items()}
    hidden = [state.clone() for state in stream.hidden]
    run = SubBlockRun(part, stream, {name: dense[name] for name in part.modules})
    list(run.gradients())
    list(run.losses(before))
    assert all(torch.equal(read_weight(module), before[name]) for name, module in part.modules.items())
    assert all(torch.equal(*pair) for pair in zip(stream.hidden, hidden, strict=True))
    assert not part.part._forward_hooks
    assert not any(weight.requires_grad for weight in dense.values())
