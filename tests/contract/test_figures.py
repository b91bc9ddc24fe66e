"""What a run with stages tells of itself, measured on the model."""

import pytest
import torch

from core.config import RunConfig
from core.engine import prune_model
from core.events import GroupRefined, ModuleEvent
from core.figures import footprint, group_table, module_table, summary
from core.models.factors import FactoredLinear

KEPT = {"stage": "barber", "keep_reconstruction": True, "threshold": 0.5}
LSA = {"stage": "reallocation", "lsa": True}


def config_for(method, stages) -> RunConfig:
    values = {"method": method, "pattern": "2:4", "stages": stages, "calibration": {"windows": 4}}
    return RunConfig.model_validate(values)


def final(events) -> dict[str, ModuleEvent]:
    """What was told last of each module."""
    return {event.module: event for event in events if isinstance(event, ModuleEvent)}


@pytest.mark.parametrize(
    "stages", [["barber"], ["low_rank"], [LSA, "reconstruction", KEPT, "low_rank"]], ids=["barber", "low_rank", "all"]
)
def test_the_error_is_that_of_the_weights_in_the_end(tiny_model, tokens, stages):
    """In the first block, where a dense model reads the same inputs (the first 64 of 96 tokens are the sample)."""
    model, dense = tiny_model("llama"), tiny_model("llama")
    last = final(prune_model(model, config_for("ria", stages), tokens))
    inputs = {}
    for name in last:
        dense.get_submodule(name).register_forward_pre_hook(
            lambda _, args, name=name: inputs.update({name: args[0].flatten(0, 1)[:64]})
        )
    with torch.no_grad():
        dense(input_ids=tokens)
    for name in (name for name in last if name.startswith("model.layers.0.")):
        module, weight = model.get_submodule(name), dense.get_submodule(name).weight
        ours = module.left.weight @ module.right.weight if isinstance(module, FactoredLinear) else module.weight
        lost, whole = (inputs[name] @ (weight - ours).T).norm(), (inputs[name] @ weight.T).norm()
        assert last[name].error == pytest.approx(float((lost / whole).detach()), rel=1e-3), name


def test_the_summary_of_a_run_by_hand(tiny_model, tokens):
    events = list(
        prune_model(tiny_model("llama"), config_for("ria", [LSA, "reconstruction", KEPT, "low_rank"]), tokens)
    )
    last, groups = final(events), [event for event in events if isinstance(event, GroupRefined)]
    told = summary(module_table(list(last.values())), group_table(groups))
    scores = [told[f"retained_{name}"] for name in ("plain", "reallocated", "lsa_1", "lsa_2", "lsa_3", "lsa_4")]
    assert scores == sorted(scores)
    assert scores[0] == pytest.approx(sum(event.report["retained_plain"] for event in last.values()))
    parameters = sum(event.parameters for event in last.values())
    swapped = sum(event.report["swapped"] * event.parameters for event in last.values()) / parameters
    assert told["swapped"] == pytest.approx(swapped)
    assert 0 < swapped < 0.5
    before, after = (sum(g.report[f"loss_{when}"] for g in groups) / len(groups) for when in ("before", "after"))
    assert (told["loss_before"], told["loss_after"]) == (pytest.approx(before), pytest.approx(after))
    lowered = sum(group.report["loss_after"] < group.report["loss_before"] for group in groups)
    assert told["loss_lowered"] == pytest.approx(lowered / len(groups))
    factored = [event.report["energy"] for event in last.values() if "energy" in event.report]
    assert told["energy"] == pytest.approx(sum(factored) / len(factored))
    assert told["mean_error"] == pytest.approx(sum(event.error for event in last.values()) / len(last))


def test_the_parameters_that_are_told_are_those_of_the_model(tiny_model, tokens):
    model = tiny_model("llama")
    events = list(prune_model(model, config_for("ria", ["reallocation", "low_rank"]), tokens))
    last = final(events)
    told = footprint(module_table(list(last.values())), itemsize=4)
    inside = [parameter for layer in model.model.layers for parameter in layer.parameters() if parameter.dim() == 2]
    assert told["parameters_after"] == sum(parameter.numel() for parameter in inside) < told["parameters"]
    assert told["pruned"] == sum(int((parameter == 0).sum()) for parameter in inside)
    assert told["dense_bytes"] == 4 * sum(event.parameters for event in last.values())


@pytest.mark.parametrize("stages", [["barber"], [{"stage": "barber", "keep_reconstruction": True}]])
def test_dead_inputs_that_are_told_have_no_weights(tiny_model, tokens, stages):
    """What Barber resets to dense values is dense again, also on inputs whose weights SparseGPT zeroed."""
    model = tiny_model("llama")
    model.model.layers[0].input_layernorm.weight.data[[4, 5, 6]] = 0
    events = list(prune_model(model, config_for("sparsegpt", stages), tokens))
    last = final(events)
    for name in last:
        weight = model.get_submodule(name).weight
        assert last[name].dead_inputs <= int((weight == 0).all(dim=0).sum()), name
