"""Allocations: the published numbers, and what must hold whatever is measured."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.allocation import Allocation, Uniform, allocate
from core.allocation.alpha_pruning import AlphaPruning
from core.allocation.balance import HIGHEST, balance, shift
from core.config import RunConfig
from core.engine import prune_model
from core.errors import InputError
from core.events import Message, ModulePruned
from core.patterns import Unstructured
from core.spectra.metrics import METRICS
from tests.core.profiles import profile_of

PUBLISHED = Path(__file__).parents[3] / "shared" / "golden" / "allocation.npz"
needs_published = pytest.mark.skipif(not PUBLISHED.is_file(), reason=f"the published numbers are not at {PUBLISHED}")
LABELS = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
LABELS += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]


@needs_published
@pytest.mark.parametrize("per", ["block", "module"])
@pytest.mark.parametrize(("sparsity", "epsilon"), [(0.5, 0.2), (0.5, 0.3), (0.7, 0.2), (0.7, 0.3)])
def test_the_published_alphas_give_the_published_ratios(sparsity, epsilon, per):
    with np.load(PUBLISHED) as file:
        alphas, sizes = file["llama-7b/alpha_peak"], file["llama-7b/numel"]
        theirs = file[f"llama-7b/ratios_s{sparsity}_eps{epsilon}_{'block' if per == 'block' else 'layer'}_wise"]
    profile = profile_of([(int(size), 1) for size in sizes], len(LABELS))
    measured = {module.name: float(alpha) for module, alpha in zip(profile.modules, alphas, strict=True)}
    ours = AlphaPruning(epsilon=epsilon, per=per).sparsities(profile, sparsity, measured)
    # Below the published mean by as much as the last 1e-7 of theirs.
    assert list(ours.values()) == pytest.approx(theirs.tolist(), abs=1e-6)


@needs_published
@pytest.mark.parametrize(("sparsity", "epsilon"), [(0.8, 0.4), (0.9, 0.3)])
def test_what_would_be_pruned_beyond_all_is_clamped_and_redistributed(sparsity, epsilon):
    with np.load(PUBLISHED) as file:
        alphas, sizes = file["llama-7b/alpha_peak"], file["llama-7b/numel"]
        theirs = file[f"llama-7b/ratios_s{sparsity}_eps{epsilon}_block_wise"]
    assert theirs.max() > 1
    profile = profile_of([(int(size), 1) for size in sizes], len(LABELS))
    measured = {module.name: float(alpha) for module, alpha in zip(profile.modules, alphas, strict=True)}
    ours = np.array(list(AlphaPruning(epsilon=epsilon).sparsities(profile, sparsity, measured).values()))
    assert ours.max() == HIGHEST
    assert np.average(ours, weights=sizes) == pytest.approx(sparsity, abs=1e-9)
    free = ours < HIGHEST
    assert np.ptp(ours[free] / theirs[free]) < 1e-6  # the others keep their proportions


def test_by_hand():
    """Block means 2, 3 and 4 of equal size: 0.7, 1 and 1.3 times the target."""
    profile = profile_of([(4, 4)] * 6, 2)
    measured = dict(zip([m.name for m in profile.modules], [1.0, 3, 3, 3, 5, 3], strict=True))
    ours = AlphaPruning().sparsities(profile, 0.5, measured)
    assert list(ours.values()) == pytest.approx([0.35, 0.35, 0.5, 0.5, 0.65, 0.65])
    turned = AlphaPruning(metric="log_norm").sparsities(profile, 0.5, measured)
    assert list(turned.values()) == pytest.approx([0.65, 0.65, 0.5, 0.5, 0.35, 0.35])


@pytest.mark.parametrize(("meet", "wish"), [(balance, st.floats(0.01, 2)), (shift, st.floats(-1, 1))])
@given(data=st.data(), sizes=st.lists(st.integers(1, 10**6), min_size=1, max_size=12), target=st.floats(0, 0.999))
def test_every_way_to_meet_a_target_meets_it(meet, wish, data, sizes, target):
    by_name = {str(number): size for number, size in enumerate(sizes)}
    found = meet({name: data.draw(wish) for name in by_name}, by_name, target)
    assert all(0 <= value < 1 for value in found.values())
    assert sum(found[name] * size for name, size in by_name.items()) / sum(sizes) == pytest.approx(target, abs=1e-6)


def test_a_target_that_cannot_be_met_is_refused():
    with pytest.raises(InputError, match=r"sparsity = 0\.6 cannot be reached"):
        balance({"a": 1.0, "b": 0.0}, {"a": 1, "b": 1}, 0.6)


@given(
    values=st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=6, max_size=6).filter(any),
    epsilon=st.floats(0, 0.99),
    target=st.floats(0, 0.98),
    metric=st.sampled_from(sorted(METRICS)),
    per=st.sampled_from(["block", "module"]),
)
def test_whatever_is_measured_the_target_is_met(values, epsilon, target, metric, per):
    profile = profile_of([(4, 4), (8, 4), (4, 16)] * 2, 3)
    measured = dict(zip([m.name for m in profile.modules], values, strict=True))
    ours = AlphaPruning(epsilon=epsilon, metric=metric, per=per).sparsities(profile, target, measured)
    assert all(0 <= value < 1 for value in ours.values())
    mean = sum(ours[m.name] * m.parameters for m in profile.modules) / profile.prunable
    assert mean == pytest.approx(target, abs=1e-6)


def test_what_approximates_alpha_hat_allocates_alike():
    """The log alpha norm is log10 of a sum that alpha times the log of its largest term approximates."""
    profile = profile_of([(4, 4)] * 6, 2)
    measured = dict(zip([m.name for m in profile.modules], [1.0, 3, 3, 3, 5, 3], strict=True))
    alike = [
        AlphaPruning(metric=metric).sparsities(profile, 0.5, measured)
        for metric in ("alpha_weighted", "log_alpha_norm")
    ]
    assert alike[0] == alike[1]


@pytest.mark.parametrize(
    ("sparsities", "sentence"),
    [
        ([0.4, 0.5, 0.5, 0.5], "has the mean 0.475000, not the target 0.5"),
        ([0.0, 1.0, 0.5, 0.5], r"gives m1 the sparsity 1\.0, outside \[0, 1\)"),
        ([0.5, 0.5, 0.5], "must name every module once; look at m3"),
    ],
)
def test_a_plugins_allocation_is_held_to_its_promise(sparsities, sentence):
    profile = profile_of([(4, 4)] * 4, 2)
    named = {module.name: value for module, value in zip(profile.modules, sparsities, strict=False)}
    sentence = sentence.replace("m1", profile.modules[1].name).replace("m3", profile.modules[3].name)

    class Broken(Uniform):  # without a name of its own, so that it is not registered
        def sparsities(self, profile, target, measured=None):
            return named

    with pytest.raises(InputError, match=sentence):
        allocate(Broken(), Unstructured(), profile, 0.5)


def test_equal_metrics_give_the_uniform_allocation():
    profile = profile_of([(4, 4)] * 4, 2)
    ours = AlphaPruning().sparsities(profile, 0.5, dict.fromkeys((m.name for m in profile.modules), 3.0))
    assert list(ours.values()) == [0.5] * 4


def test_a_whole_run_prunes_light_tails_more(tiny_model, tokens):
    config = RunConfig(method="magnitude", allocation={"allocation": "alpha_pruning", "per": "module", "fit": "median"})
    events = [event for event in prune_model(tiny_model("llama"), config, tokens) if isinstance(event, ModulePruned)]
    by_alpha = sorted(events, key=lambda event: event.report["alpha"])
    assert [event.target for event in by_alpha] == sorted(event.target for event in events)
    assert by_alpha[0].target < 0.5 < by_alpha[-1].target
    total = sum(event.parameters for event in events)
    assert sum(event.target * event.parameters for event in events) / total == pytest.approx(0.5, abs=1e-6)
    assert sum(event.pruned for event in events) / total == pytest.approx(0.5, abs=1e-3)


def test_a_zero_matrix_gets_the_mean_and_a_message(tiny_model, tokens):
    model = tiny_model("llama")
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.zero_()
    config = RunConfig(method="magnitude", allocation="alpha_pruning")
    messages = [event.text for event in prune_model(model, config, tokens) if isinstance(event, Message)]
    assert messages == ["model.layers.1.mlp.up_proj has no alpha to measure; it gets the others' mean."]


def test_n_of_m_prunes_every_module_alike():
    with pytest.raises(ValueError, match=r"alpha_pruning contradicts pattern = 2:4"):
        RunConfig(pattern="2:4", allocation="alpha_pruning")


@pytest.mark.parametrize("name", sorted(Allocation.registry))
def test_every_allocation_explains_itself(name):
    cls = Allocation.registry[name]
    assert cls.summary
    assert cls.title


def test_the_metrics_offered_are_metrics():
    field = AlphaPruning.model_fields["metric"]
    assert set(field.annotation.__args__) == set(METRICS)
    titles = field.json_schema_extra["titles"]
    assert all(("higher" if METRICS[name].direction > 0 else "lower") in title for name, title in titles.items())
    assert json.loads(AlphaPruning(metric="entropy").canonical())["metric"] == "entropy"
