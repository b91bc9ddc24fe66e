"""OWL, sensitivity, manual and mixed N:M: the authors' numbers, naive transcriptions, and what must always hold."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.allocation import allocate
from core.allocation.balance import HIGHEST, shift
from core.allocation.manual import Manual
from core.allocation.mixed import whole_numbers
from core.allocation.owl import OWL
from core.allocation.sensitivity import Sensitivity
from core.allocation.table import as_csv, as_json, condensed, read_sparsities
from core.config import RunConfig
from core.engine import prune_model
from core.errors import InputError
from core.events import ModulePruned
from core.execution import drain
from core.measuring import BlockProbe, measure
from core.models.structure import Block, decoder_blocks
from core.patterns import MixedNM, Unstructured
from core.statistics import InputStatistics
from tests.core.profiles import profile_of

# Beside published data, which must not be copied into the repository.
GOLDEN = Path(__file__).parents[3] / "shared" / "golden" / "allocation.npz"


def measured_of(model, config, tokens):
    return drain(measure(model, config, tokens), lambda event: None)


def weighted_mean(found, profile):
    return sum(found[module.name] * module.parameters for module in profile.modules) / profile.prunable


# OWL ------------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not GOLDEN.is_file(), reason=f"the authors' numbers are not at {GOLDEN}")
def test_owl_is_the_authors_program():
    with np.load(GOLDEN) as file:
        weights = [torch.from_numpy(file[f"owl/in/W{index}"]) for index in range(6)]
        inputs = torch.from_numpy(file["owl/in/X"])
        theirs = 1 - file["owl/s0.7_M5_lam0.08/density"]
        shares = file["owl/s0.7_M5_lam0.08/lod"]
    norm = (inputs.reshape(-1, 64).square().sum(dim=0) / len(inputs)).sqrt()
    profile = profile_of([(48, 64)] * 6, 1)
    measured = {}
    for module, weight in zip(profile.modules, weights, strict=True):
        layer = torch.nn.Linear(64, 48, bias=False)
        layer.weight.data = weight.float()
        block = Block(module.block, f"layers.{module.block}", layer, {module.name: layer})
        probe = BlockProbe(block, {module.name: InputStatistics({"norm": norm.float()})}, None, [])
        measured |= drain(OWL().measure(probe), lambda words: None)
    assert [100 * measured[m.name] for m in profile.modules] == pytest.approx(shares.tolist(), abs=1e-6)
    ours = OWL().sparsities(profile, 0.7, measured)
    assert list(ours.values()) == pytest.approx(theirs.tolist(), abs=1e-6)


def test_owl_by_hand():
    """Shares 0.01, 0.02 and 0.05: densities 0, 0.04 and 0.16 above the lowest, whose mean is 0.0667."""
    profile = profile_of([(4, 4)] * 3, 1)
    measured = dict(zip([m.name for m in profile.modules], [0.01, 0.02, 0.05], strict=True))
    ours = OWL(band=0.08).sparsities(profile, 0.5, measured)
    mean = (0 + 0.04 + 0.16) / 3
    assert list(ours.values()) == pytest.approx([0.5 + mean, 0.5 + mean - 0.04, 0.5 + mean - 0.16])


def test_owl_counts_a_whole_blocks_outliers_in_the_dense_model(tiny_model, tokens):
    model = tiny_model("llama")
    config = RunConfig(allocation={"allocation": "owl", "threshold": 2.0})
    measured = measured_of(model, config, tokens)
    inputs = {}
    hooks = [
        module.register_forward_pre_hook(lambda _, args, name=name: inputs.__setitem__(name, args[0]))
        for block in decoder_blocks(model)
        for name, module in block.modules.items()
    ]
    with torch.no_grad():
        model(input_ids=tokens)
    for hook in hooks:
        hook.remove()
    for block in decoder_blocks(model):
        scores = torch.cat(
            [
                (module.weight.abs() * inputs[name].reshape(-1, module.in_features).norm(dim=0)).flatten()
                for name, module in block.modules.items()
            ]
        )
        share = float((scores > 2 * scores.mean()).float().mean())
        assert 0 < share < 1
        assert [measured[name] for name in block.modules] == pytest.approx([share] * len(block.modules), abs=2e-4)


def test_a_shift_is_clamped_on_both_sides_and_redistributed():
    """A wish of -1 stays at 0, one of +1 at the highest; the two between share what is missing."""
    found = shift({"a": -1.0, "b": 0.0, "c": 0.1, "d": 1.0}, dict.fromkeys("abcd", 1), 0.5)
    assert found["a"] == 0
    assert found["d"] == HIGHEST
    assert found["c"] - found["b"] == pytest.approx(0.1)
    assert sum(found.values()) == pytest.approx(2.0)


@given(
    values=st.lists(st.one_of(st.none(), st.floats(0, 1e3)), min_size=6, max_size=6).filter(
        lambda values: any(value is not None for value in values)
    ),
    target=st.floats(0, 0.98),
    allocation=st.one_of(st.builds(OWL, band=st.floats(0, 0.49)), st.builds(Sensitivity, epsilon=st.floats(0, 0.99))),
)
def test_whatever_is_measured_the_target_is_met(values, target, allocation):
    profile = profile_of([(4, 4), (8, 4), (4, 16)] * 2, 3)
    measured = dict(zip([m.name for m in profile.modules], values, strict=True))
    ours = allocation.sparsities(profile, target, measured)
    assert all(0 <= value < 1 for value in ours.values())
    assert weighted_mean(ours, profile) == pytest.approx(target, abs=1e-6)


# Sensitivity ----------------------------------------------------------------------------------------------------------


def test_sensitivity_by_hand():
    """Costs 1, e and e² (in nats): logarithms 0, 1, 2; spread 0.2: 1.2, 1 and 0.8 times the target."""
    profile = profile_of([(4, 4)] * 3, 1)
    measured = dict(zip([m.name for m in profile.modules], np.exp([0.0, 1, 2]).tolist(), strict=True))
    ours = Sensitivity(epsilon=0.2).sparsities(profile, 0.5, measured)
    assert list(ours.values()) == pytest.approx([0.6, 0.5, 0.4])


def pruned_alone(model, index, tokens):
    """A copy of ``model`` with block ``index`` pruned by Wanda at 50 %, from the dense model's inputs; by hooks alone."""
    inputs, other = {}, copy.deepcopy(model)
    block = decoder_blocks(other)[index]
    hooks = [
        module.register_forward_pre_hook(lambda _, args, name=name: inputs.__setitem__(name, args[0]))
        for name, module in block.modules.items()
    ]
    other(input_ids=tokens)
    for hook in hooks:
        hook.remove()
    for name, module in block.modules.items():
        scores = module.weight.abs() * inputs[name].reshape(-1, module.in_features).norm(dim=0)
        lowest = scores.argsort(dim=1, stable=True)[:, : scores.shape[1] // 2]
        module.weight.scatter_(1, lowest, 0)
    return other


def mean_loss(model, tokens):
    logits = model(input_ids=tokens).logits[:, :-1]
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()))


@pytest.mark.parametrize("family", ["llama", "opt", "qwen3"])
@torch.no_grad()
def test_the_loss_of_a_block_pruned_alone_is_the_whole_models(tiny_model, tokens, family):
    model = tiny_model(family)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    measured = measured_of(model, RunConfig(allocation="sensitivity"), tokens)
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    for block in decoder_blocks(model):
        rise = mean_loss(pruned_alone(model, block.index, tokens), tokens) - mean_loss(model, tokens)
        assert rise != 0
        assert measured[next(iter(block.modules))] == pytest.approx(rise, abs=2e-6)


@torch.no_grad()
def test_the_error_of_a_block_pruned_alone_is_its_outputs(tiny_model, tokens):
    model = tiny_model("llama")
    measured = measured_of(model, RunConfig(allocation={"allocation": "sensitivity", "cost": "error"}), tokens)
    outputs = [
        candidate(input_ids=tokens, output_hidden_states=True).hidden_states
        for candidate in (model, pruned_alone(model, 0, tokens))
    ]
    error = float((outputs[1][1] - outputs[0][1]).norm() / outputs[0][1].norm())
    first = decoder_blocks(model)[0]
    assert measured[next(iter(first.modules))] == pytest.approx(error, rel=1e-4)


def test_a_trial_that_is_stopped_leaves_the_model_dense(tiny_model, tokens):
    model = tiny_model("llama")
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    steps = measure(model, RunConfig(allocation="sensitivity"), tokens)
    for step in steps:
        if "output when it is pruned" in getattr(step, "text", ""):
            break
    assert any(not torch.equal(before[name], weight) for name, weight in model.state_dict().items())
    steps.close()
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("allocation", ["owl", "sensitivity"])
def test_a_model_in_training_is_measured_as_in_evaluation(tiny_model, tokens, allocation):
    runs = []
    for training in (False, True):
        model = tiny_model("opt").train(training)
        events = prune_model(model, RunConfig(allocation=allocation), tokens)
        runs.append([event.target for event in events if isinstance(event, ModulePruned)])
        assert model.training == training
    assert runs[0] == runs[1]


@pytest.mark.parametrize("allocation", ["owl", "sensitivity", "alpha_pruning"])
def test_a_known_measurement_gives_the_same_run(tiny_model, tokens, allocation):
    config = RunConfig(allocation=allocation)
    measured = measured_of(tiny_model("llama"), config, tokens)
    runs = [
        [e.target for e in prune_model(tiny_model("llama"), config, tokens, known) if isinstance(e, ModulePruned)]
        for known in (None, measured)
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 1


# Manual ---------------------------------------------------------------------------------------------------------------


def test_manual_takes_modules_before_blocks_and_scales():
    profile = profile_of([(4, 4)] * 4, 2)
    given_by_hand = Manual(values={"0": 0.2, "1": 0.4, "layers.1.1": 0.6})
    assert list(given_by_hand.sparsities(profile, 0.35).values()) == [0.2, 0.2, 0.4, 0.6]
    scaled = given_by_hand.sparsities(profile, 0.7)
    assert list(scaled.values()) == pytest.approx([0.4525, 0.4525, 0.905, 0.99])  # 1.2 is clamped, the rest shared
    assert weighted_mean(scaled, profile) == pytest.approx(0.7, abs=1e-9)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"0": 0.5}, "gives no sparsity for layers.1.0; give one for it, or for block 1"),
        ({"0": 0.5, "1": 0.5, "2": 0.5}, "names '2', which is neither a module of this model, such as 'layers.0.0'"),
        ({"0": 0.5, "1": 0.5, "layers.9.9": 0.5}, "names 'layers.9.9'"),
    ],
)
def test_manual_says_what_is_missing_or_unknown(values, words):
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        Manual(values=values).sparsities(profile_of([(4, 4)] * 4, 2), 0.5)


def test_manual_without_scaling_must_meet_the_target():
    profile = profile_of([(4, 4), (4, 12)], 1)
    exact = Manual(values={"0": 0.2, "1": 0.6}, scale=False)
    assert list(exact.sparsities(profile, 0.5).values()) == [0.2, 0.6]
    with pytest.raises(InputError, match=r"mean 0\.500000.*but sparsity = 0\.6"):
        exact.sparsities(profile, 0.6)


def test_a_table_from_a_spreadsheet_is_read():
    assert read_sparsities("\ufeffblock,sparsity\r0,0.25\r1,0.5\r") == {"0": 0.25, "1": 0.5}
    with pytest.raises(InputError, match="not a CSV"):
        read_sparsities('block,sparsity\n"' + "x" * 200_000 + '",0.5\n')


def test_values_come_as_json_or_csv_and_go_out_again():
    profile = profile_of([(4, 4)] * 4, 2)
    sparsities = {"layers.0.0": 0.25, "layers.0.1": 0.25, "layers.1.0": 0.5, "layers.1.1": 0.5}
    assert read_sparsities(as_json(sparsities)) == sparsities
    assert read_sparsities(as_csv(sparsities, profile)) == sparsities
    assert read_sparsities("block,sparsity\n0,0.25\n1,0.5\n") == {"0": 0.25, "1": 0.5}
    assert condensed(sparsities, profile) == {"0": 0.25, "1": 0.5}
    assert condensed(sparsities | {"layers.0.0": 0.1}, profile) == sparsities | {"layers.0.0": 0.1}
    assert Manual(values='{"0": 0.25}').values == {"0": 0.25}
    assert json.loads(Manual(values="block,sparsity\n0,0.5").canonical())["values"] == {"0": 0.5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{nonsense", "values are not JSON"),
        ("layer;rate\n1;2", "columns are layer;rate; it needs sparsity and one of module, block"),
        ('{"0": "much"}', "0 has the sparsity 'much', which is not a number"),
        ('{"0": 1.0}', r"0 has the sparsity 1, which is outside \[0, 1\)"),
    ],
)
def test_what_is_no_table_of_sparsities_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        Manual(values=text)


# Mixed N:M ------------------------------------------------------------------------------------------------------------


@given(
    values=st.lists(st.floats(0.0, 0.99), min_size=8, max_size=8),
    eighths=st.integers(8, 56),
)
def test_mixed_n_of_m_meets_every_target_that_equal_blocks_can(values, eighths):
    profile = profile_of([(4, 8)] * 8, 1)
    target = eighths / 64
    wishes = dict(zip([m.name for m in profile.modules], values, strict=True))
    found = whole_numbers(wishes, profile, target, 8)
    assert all(value * 8 == int(value * 8) and 1 <= value * 8 <= 7 for value in found.values())
    assert weighted_mean(found, profile) == pytest.approx(target, abs=1e-9)


@given(
    values=st.lists(st.floats(0.0, 0.99), min_size=8, max_size=8),
    sizes=st.lists(st.sampled_from([64, 100, 144]), min_size=8, max_size=8),
    eighths=st.integers(1, 7),
)
def test_mixed_n_of_m_meets_whole_eighths_whatever_the_blocks(values, sizes, eighths):
    profile = profile_of([(64, size) for size in sizes], 1)
    wishes = dict(zip([m.name for m in profile.modules], values, strict=True))
    found = whole_numbers(wishes, profile, eighths / 8, 8)
    assert all(value * 8 == int(value * 8) and 1 <= value * 8 <= 7 for value in found.values())
    assert weighted_mean(found, profile) == pytest.approx(eighths / 8, abs=1e-6)


def test_mixed_n_of_m_by_hand():
    """Wishes 0.30, 0.45, 0.75 of eighths are 2.4, 3.6, 6: downwards 2, 3, 6; the one missing goes to 3.6."""
    profile = profile_of([(4, 8)] * 3, 1)
    wishes = dict(zip([m.name for m in profile.modules], [0.30, 0.45, 0.75], strict=True))
    assert list(whole_numbers(wishes, profile, 0.5, 8).values()) == [2 / 8, 4 / 8, 6 / 8]


def test_mixed_n_of_m_says_what_it_can_reach():
    profile = profile_of([(4, 8)] * 3, 1)
    with pytest.raises(InputError, match=r"sparsity = 0\.51 cannot be met .*; 4/8 = 0\.5 and 5/8 = 0\.625 always can"):
        allocate(RunConfig().allocation, MixedNM(), profile, 0.51)
    assert set(allocate(RunConfig().allocation, Unstructured(), profile, 0.51).values()) == {0.51}


@pytest.mark.parametrize("stages", [(), ("reallocation",), ("reconstruction",), ("barber",)])
def test_every_block_gets_its_own_n(tiny_model, tokens, stages):
    by_hand = {"allocation": "manual", "values": {"0": 0.25, "1": 0.5, "2": 0.75}}
    config = RunConfig(pattern="N:8", sparsity=0.5, allocation=by_hand, stages=stages)
    events = {e.module: e for e in prune_model(tiny_model("llama"), config, tokens) if hasattr(e, "keep")}
    for event in events.values():
        order = torch.arange(event.shape[1]) if event.permutation is None else event.permutation
        kept = event.keep[:, order].reshape(-1, 8).sum(dim=1)
        assert set(kept.tolist()) == {6 - 2 * event.block}
    total = sum(event.parameters for event in events.values())
    assert sum(event.pruned for event in events.values()) == total / 2
