"""Block-wise tuning: by hand, against a plain training loop on a copy of the block, and what always holds."""

import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from transformers.pytorch_utils import Conv1D

from core.config import RunConfig
from core.engine import prune_model
from core.errors import explain
from core.events import GroupRefined, ModuleEvent, ModulePruned, Working
from core.figures import group_table, summary, tuning_curves
from core.methods import Pruned
from core.models.groups import BlockRun
from core.models.replay import capture
from core.models.structure import decoder_blocks, read_weight, write_weight
from core.stages.base import Tuned, WholeBlock
from core.stages.tuning import Tuning


def drained(stage: Tuning, block: WholeBlock) -> tuple[list[str], Tuned]:
    steps = list(stage.tune(block))
    assert isinstance(steps[-1], Tuned)
    return [word for word in steps if isinstance(word, str)], steps[-1]


def linear(windows: int = 8):
    """A block that is one matrix, half of it pruned, whose targets the survivors can reach."""
    generator = torch.Generator().manual_seed(0)
    keep = torch.rand(6, 8, generator=generator) > 0.5
    goal = torch.randn(6, 8, generator=generator) * keep
    x = torch.randn(windows, 20, 8, generator=generator)
    y = x @ goal.T
    start = (goal + 0.1 * torch.randn(6, 8, generator=generator)) * keep

    def loss(window, weights):
        return (x[window] @ weights["a"].T - y[window]).square().mean()

    return WholeBlock({"a": Pruned(start, keep)}, windows, loss), goal


def test_the_first_step_by_hand():
    """Adam's first step is the rate in the direction against each gradient: 2 - 0.1 and 1 + 0.1; what is pruned stays 0."""
    goal, keep = torch.tensor([[1.0, 3, 5]]), torch.tensor([[True, True, False]])
    block = WholeBlock(
        {"a": Pruned(torch.tensor([[2.0, 1, 0]]), keep)}, 2, lambda _, weights: (weights["a"] - goal).square().mean()
    )
    _, found = drained(Tuning(epochs=1, learning_rate=0.1), block)
    torch.testing.assert_close(found.pruned["a"].weight, torch.tensor([[1.9, 1.1, 0]]))
    assert found.report == pytest.approx(
        {"held_out_0": 30 / 3, "training_1": 30 / 3, "held_out_1": (0.81 + 3.61 + 25) / 3, "held_out_lowest": 29.42 / 3}
    )


def test_the_survivors_find_their_goal_and_nothing_else_moves():
    block, goal = linear()
    before = block.pruned["a"].weight.clone()
    words, found = drained(Tuning(epochs=60, learning_rate=0.02, patience=60), block)
    keep = block.pruned["a"].keep
    torch.testing.assert_close(found.pruned["a"].weight, goal, rtol=0, atol=2e-3)
    assert torch.equal(found.pruned["a"].keep, keep)
    assert (found.pruned["a"].weight[~keep] == 0).all()
    assert torch.equal(block.pruned["a"].weight, before), "what it is given stays"
    assert len(words) == 1 + 60 * (7 + 1), "a word for every window: the first held-out error, then 7 and 1 an epoch"


def test_the_untuned_weights_stay_where_the_held_out_error_never_falls():
    block, _ = linear()
    _, found = drained(Tuning(epochs=9, learning_rate=1.0, patience=2), block)
    assert torch.equal(found.pruned["a"].weight, block.pruned["a"].weight)
    assert found.report["held_out_lowest"] == found.report["held_out_0"]
    assert [name for name in found.report if name.startswith("training")] == ["training_1", "training_2"]


def test_the_best_epoch_s_weights_are_kept():
    """The training window draws the weight from 0 to 1, past 1/2, where the held-out one would have it."""
    goals = torch.tensor([1.0, 0.5])
    block = WholeBlock(
        {"a": Pruned(torch.zeros(1, 1), torch.ones(1, 1).bool())},
        2,
        lambda window, weights: (weights["a"] - goals[window]).square().mean(),
    )
    _, found = drained(Tuning(epochs=40, learning_rate=0.05, patience=40), block)
    errors = [found.report[f"held_out_{epoch}"] for epoch in range(41)]
    assert 0 < errors.index(min(errors)) < 40, "or this tests nothing"
    assert found.report["held_out_lowest"] == min(errors)
    assert (float(found.pruned["a"].weight) - 0.5) ** 2 == pytest.approx(min(errors), abs=1e-9)
    _, sooner = drained(Tuning(epochs=40, learning_rate=0.05, patience=3), block)
    assert f"held_out_{errors.index(min(errors)) + 4}" not in sooner.report, "three epochs without a fall are enough"
    assert f"held_out_{errors.index(min(errors)) + 3}" in sooner.report


def test_a_step_takes_the_mean_of_its_windows():
    block, _ = linear(windows=5)
    _, found = drained(Tuning(epochs=1, batch=4, learning_rate=0.01, held_out=0.2), block)
    weight, keep = block.pruned["a"].weight.clone().requires_grad_(), block.pruned["a"].keep
    sum(block.loss(window, {"a": weight}) for window in range(4)).div(4).backward()
    expected = weight.detach() - 0.01 * weight.grad.sign() * keep
    torch.testing.assert_close(found.pruned["a"].weight, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("windows", "share", "trained"), [(2, 0.125, 1), (8, 0.125, 7), (16, 0.25, 12), (3, 0.5, 1)])
def test_so_many_windows_are_held_out(windows, share, trained):
    seen: list[int] = []
    block = WholeBlock(
        {"a": Pruned(torch.ones(1, 1), torch.ones(1, 1).bool())},
        windows,
        lambda window, weights: seen.append(window) or weights["a"].square().sum(),
    )
    drained(Tuning(epochs=1, held_out=share), block)
    held = list(range(trained, windows))
    assert seen[: len(held)] == held == seen[-len(held) :]
    assert sorted(seen[len(held) : -len(held)]) == list(range(trained))


# On models ------------------------------------------------------------------------------------------------------


def config_for(**options) -> RunConfig:
    stage = {"stage": "tuning", "epochs": 2, "learning_rate": 1e-3} | options
    return RunConfig.model_validate(
        {"method": "magnitude", "pattern": "2:4", "stages": [stage], "calibration": {"windows": 4, "seqlen": 24}}
    )


@pytest.mark.parametrize("target", ["dense", "sparse"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "gemma3_text"])
def test_it_is_a_plain_training_loop_over_the_model(tiny_model, tokens, family, target):
    """Block after block of a whole model: Adam on the block's own parameters, everything else frozen."""
    model, plain, dense = tiny_model(family), tiny_model(family), tiny_model(family)
    events = list(prune_model(model, config_for(target=target), tokens))
    masks = {event.module: event.keep for event in events if isinstance(event, ModulePruned)}
    with torch.no_grad():
        streams = [capture(each, decoder_blocks(each), tokens, 1) for each in (plain, dense)]
    for block, original in zip(decoder_blocks(plain), decoder_blocks(dense), strict=True):
        with torch.no_grad():
            inputs = streams[0] if target == "sparse" else streams[1]
            goals = list(inputs.forward(original))
        for name, module in block.modules.items():
            write_weight(module, read_weight(module) * masks[name])
        layer, calls = block.layer, list(streams[0].arguments(block))
        layer.requires_grad_(False)
        weights = {name: module.weight.requires_grad_() for name, module in block.modules.items()}
        optimiser = torch.optim.Adam(weights.values(), 1e-3)

        def error(window, layer=layer, calls=calls, goals=goals):
            args, kwargs = calls[window]
            output = layer(*args, **kwargs)
            return ((output[0] if isinstance(output, tuple) else output) - goals[window]).square().mean()

        best, lowest, steps = copy.deepcopy(layer.state_dict()), error(3).item(), 0
        for epoch in (1, 2):
            for window in torch.randperm(3, generator=torch.Generator().manual_seed(epoch)).tolist():
                optimiser.zero_grad()
                error(window).backward()
                for name, weight in weights.items():
                    mask = masks[name].T if isinstance(block.modules[name], Conv1D) else masks[name]
                    weight.grad *= mask
                for group in optimiser.param_groups:
                    group["lr"] = 1e-3 * (1 - steps / 6)
                optimiser.step()
                steps += 1
            if (held_out := error(3).item()) < lowest:
                best, lowest = copy.deepcopy(layer.state_dict()), held_out
        layer.load_state_dict(best)
        with torch.no_grad():
            list(streams[0].propagate(block))
            list(streams[1].propagate(original))
    for (name, ours), theirs in zip(model.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_the_error_of_every_block_falls_or_stays(tiny_model, tokens, family):
    events = list(prune_model(tiny_model(family), config_for(epochs=4), tokens))
    tuned = [event for event in events if isinstance(event, GroupRefined)]
    blocks = len(decoder_blocks(tiny_model(family)))
    assert [(event.block, event.group, event.stage) for event in tuned] == [
        (i, "block", "tuning") for i in range(blocks)
    ]
    for event in tuned:
        errors = [value for name, value in event.report.items() if name.startswith("held_out_") and name[-1].isdigit()]
        assert event.report["held_out_lowest"] == min(errors)
    assert min(event.report["held_out_lowest"] / event.report["held_out_0"] for event in tuned) < 0.99
    assert sum(isinstance(event, Working) and "epoch" in event.text for event in events) >= blocks * 3


def test_curves_and_figures_are_those_of_the_events():
    events = [
        GroupRefined(block=0, group="mlp", stage="barber", report={"loss_before": 4.0, "loss_after": 2.0}),
        GroupRefined(
            block=0,
            group="block",
            stage="tuning",
            report={"held_out_0": 4.0, "training_1": 7.0, "held_out_1": 1.0, "held_out_lowest": 1.0},
        ),
        GroupRefined(
            block=1,
            group="block",
            stage="tuning",
            report={
                "held_out_0": 2.0, "training_1": 3.0, "held_out_1": 5.0, "training_2": 1.0, "held_out_2": 4.0,
                "held_out_lowest": 2.0,
            },
        ),
    ]  # fmt: skip
    table = tuning_curves(group_table(events))
    assert table.fillna(-1).to_dict("records") == [
        {"block": 0, "epoch": 0, "held_out": 4.0, "training": -1, "share": 1.0},
        {"block": 0, "epoch": 1, "held_out": 1.0, "training": 7.0, "share": 0.25},
        {"block": 1, "epoch": 0, "held_out": 2.0, "training": -1, "share": 1.0},
        {"block": 1, "epoch": 1, "held_out": 5.0, "training": 3.0, "share": 2.5},
        {"block": 1, "epoch": 2, "held_out": 4.0, "training": 1.0, "share": 2.0},
    ]
    modules = group_table(events).assign(error=0.5)
    figures = summary(modules, group_table(events))
    assert {name: figures[name] for name in ("loss_before", "loss_after", "loss_lowered", "tuned_ratio", "tuned_lowered")} == {
        "loss_before": 4.0, "loss_after": 2.0, "loss_lowered": 1.0, "tuned_ratio": 0.625, "tuned_lowered": 0.5,
    }  # fmt: skip
    assert tuning_curves(group_table([])).empty
    assert tuning_curves(group_table(events[:1])).empty


def test_a_block_s_loss_is_that_of_its_weights(tiny_model, tokens):
    model = tiny_model("llama")
    block = decoder_blocks(model)[0]
    with torch.no_grad():
        stream = capture(model, [*decoder_blocks(model)], tokens, 1)
        outputs = list(stream.forward(block))
        run = BlockRun(block, stream, outputs)
        own = {name: read_weight(module) for name, module in block.modules.items()}
        assert [float(run.loss(window, own)) for window in range(4)] == pytest.approx([0.0] * 4, abs=1e-12)
        down = "model.layers.0.mlp.down_proj"
        zeroed = own | {down: torch.zeros_like(own[down])}
        copied = copy.deepcopy(block.layer)
        copied.mlp.down_proj.weight.zero_()
        args, kwargs = next(stream.arguments(block))
        expected = (copied(*args, **kwargs) - outputs[0]).square().mean()
        assert float(run.loss(0, zeroed)) == pytest.approx(float(expected), rel=1e-5)
    assert all(isinstance(module, nn.Linear) and module.weight.requires_grad for module in block.modules.values())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_low_precision_models_are_tuned_in_float32_and_keep_their_type(tiny_model, tokens):
    model = tiny_model("llama").to(torch.bfloat16)
    events = list(prune_model(model, config_for(), tokens))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    last = {event.module: event for event in events if isinstance(event, ModuleEvent)}
    for block in decoder_blocks(model):
        for name, module in block.modules.items():
            assert (read_weight(module)[~last[name].keep] == 0).all()


@pytest.mark.parametrize(
    ("values", "sides"),
    [
        ({"calibration": {"windows": 1}}, ["calibration.windows = 1", "stage = tuning"]),
        ({"method": {"method": "sparsegpt", "bits": 4}}, ["sparsegpt", "stage = tuning", "bits"]),
    ],
)
def test_what_it_does_not_go_with_is_refused(values, sides):
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate({"stages": ["tuning"]} | values)
    assert all(side in explain(caught.value) for side in sides)
