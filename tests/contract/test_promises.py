"""The after-checks: a method, pattern or stage that returns what it must not is told, with the module, and not believed."""

import dataclasses
from typing import ClassVar, Literal

import pytest
import torch

from core.aftercheck import BrokenPromise
from core.config import RunConfig
from core.engine import prune_model
from core.events import ModuleEvent
from core.methods import ScoreMethod
from core.methods.magnitude import Magnitude
from core.patterns import NM, Pattern, Unstructured
from core.stages import BlockStage, FactorStage, MaskStage, RefineStage, Stage, TuneStage, UpdateStage
from core.stages.barber import Barber
from core.stages.base import Choice, Factors, Refined, Tuned
from core.stages.low_rank import LowRank

SECOND = "model.layers.0.self_attn.k_proj"


def one_more(keep: torch.Tensor) -> torch.Tensor:
    """Prunes the first weight that is kept."""
    broken = keep.clone()
    broken.view(-1)[int(keep.reshape(-1).int().argmax())] = False
    return broken


def moved(keep: torch.Tensor) -> torch.Tensor:
    """Lets the first row lose a weight that another group of it gets in return."""
    broken = one_more(keep)
    broken[0, 4 + int((~keep[0, 4:]).int().argmax())] = True
    return broken


def with_value(weight: torch.Tensor, keep: torch.Tensor, value: float, where: bool) -> torch.Tensor:
    """``value`` in the place of the first weight that is kept (or pruned)."""
    broken = weight.clone()
    broken.view(-1)[int((keep == where).reshape(-1).int().argmax())] = value
    return broken


# By name: (weight, keep) -> (weight, keep), and what is told.
FAULTS = {
    "counts": (lambda w, k: (w * one_more(k), one_more(k)), "do not"),
    "broken N:M": (lambda w, k: (w * moved(k), moved(k)), "groups of 4 do not keep exactly 2"),
    "not zero": (lambda w, k: (with_value(w, k, 0.5, False), k), "left 1 weights that its mask prunes"),
    "NaN": (lambda w, k: (with_value(w, k, torch.nan, True), k), "not finite"),
    "infinite": (lambda w, k: (with_value(w, k, torch.inf, True), k), "not finite"),
    "NaN where it is pruned": (lambda w, k: (with_value(w, k, torch.nan, False), k), "not finite"),
}
MASK_FAULTS = ["counts", "broken N:M"]


@pytest.fixture(autouse=True)
def forgotten(clean_registries):
    pass


def broken_run(model, tokens, **values) -> tuple[str, list[str]]:
    """(what is told, modules done before); no hook is left, and what is named was not touched again."""
    values = {"method": "magnitude", "pattern": "2:4", "calibration": {"windows": 4}} | values
    told: list[ModuleEvent] = []
    written = {name: parameter.clone() for name, parameter in model.named_parameters()}

    def watched():
        for event in prune_model(model, RunConfig.model_validate(values), tokens):
            if isinstance(event, ModuleEvent):
                parameters = model.get_submodule(event.module).named_parameters()
                written.update({f"{event.module}.{name}": parameter.clone() for name, parameter in parameters})
                yield event

    with pytest.raises(BrokenPromise) as caught:
        told.extend(watched())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    place = str(caught.value).split(":")[0]  # a module, or the part of a block that holds it
    assert model.get_submodule(place)
    assert all(torch.equal(p, written[name]) for name, p in model.named_parameters() if name.startswith(f"{place}."))
    return str(caught.value), [event.module for event in told]


class Second:
    """Breaks at the second call, and says of itself what a stage has to say."""

    calls: ClassVar[int] = 0
    title: ClassVar[str] = "Broken"
    order: ClassVar[int] = 25

    @classmethod
    def second(cls) -> bool:
        cls.calls += 1
        return cls.calls == 2


def broken_method(fault: str) -> ScoreMethod:
    class Broken(Second, Magnitude):
        name: ClassVar[str] = "broken"

        def prune(self, weight, stats, pattern, sparsity):
            result = super().prune(weight, stats, pattern, sparsity)
            if not self.second():
                return result
            weight, keep = FAULTS[fault][0](result.weight, result.keep)
            return dataclasses.replace(result, weight=weight, keep=keep)

    return Broken()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_method_that_breaks_a_promise_is_told_with_the_module(tiny_model, tokens, fault):
    told, done = broken_run(tiny_model("llama"), tokens, method=broken_method(fault))
    assert told.startswith(f"{SECOND}: ")
    assert "broken" in told
    assert FAULTS[fault][1] in told
    assert len(done) == 1


@pytest.mark.parametrize("group", ["layer", "output", "input"])
def test_unstructured_counts_are_checked_in_their_groups(tiny_model, tokens, group):
    told, _ = broken_run(
        tiny_model("llama"), tokens, method=broken_method("counts"), pattern=Unstructured(group=group), sparsity=0.5
    )
    assert told.startswith(f"{SECOND}: method = broken with pattern = Unstructured failed: 1 of ")


def test_a_weight_that_its_type_cannot_hold_is_told(tiny_model, tokens):
    class Huge(Magnitude):
        name: ClassVar[str] = "huge"

        def prune(self, weight, stats, pattern, sparsity):
            result = super().prune(weight, stats, pattern, sparsity)
            return dataclasses.replace(result, weight=result.weight * 1e6)

    told, _ = broken_run(tiny_model("llama").half(), tokens, method=Huge())
    assert told.startswith("model.layers.0.self_attn.q_proj: huge returned weights that are not finite")


@pytest.mark.parametrize("fault", MASK_FAULTS)
def test_a_pattern_that_breaks_its_promise_is_told_with_the_module(tiny_model, tokens, fault):
    class Broken(Second, NM):
        name: ClassVar[str] = "broken"

        def keep(self, scores, sparsity):
            keep = super().keep(scores, sparsity)
            return FAULTS[fault][0](scores, keep)[1] if self.second() else keep

    told, done = broken_run(tiny_model("llama"), tokens, pattern=Broken())
    assert told.startswith(f"{SECOND}: method = magnitude with pattern = 2:4 failed")
    assert len(done) == 1


@pytest.mark.parametrize("fault", MASK_FAULTS)
def test_a_mask_stage_that_breaks_the_pattern_is_told_with_the_module(tiny_model, tokens, fault):
    class Broken(Second, MaskStage):
        name: ClassVar[str] = "broken"

        def choose(self, scores, pattern, sparsity):
            keep = pattern.keep(scores, sparsity)
            yield Choice(FAULTS[fault][0](scores, keep)[1] if self.second() else keep)

    told, done = broken_run(tiny_model("llama"), tokens, stages=[Broken()])
    assert told.startswith(f"{SECOND}: ")
    assert FAULTS[fault][1] in told
    assert len(done) == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_an_update_stage_that_breaks_a_promise_is_told_with_the_module(tiny_model, tokens, fault):
    class Broken(Second, UpdateStage):
        name: ClassVar[str] = "broken"

        def update(self, dense, pruned, stats):
            weight, keep = pruned.weight, pruned.keep
            weight, keep = FAULTS[fault][0](weight, keep) if self.second() else (weight, keep)
            return dataclasses.replace(pruned, weight=weight, keep=keep)

    told, done = broken_run(tiny_model("llama"), tokens, stages=[Broken()])
    assert told.startswith(f"{SECOND}: ")
    assert FAULTS[fault][1] in told
    assert len(done) == 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_refine_stage_that_breaks_a_promise_is_told_with_the_module(tiny_model, tokens, fault):
    class Broken(Second, RefineStage):
        name: ClassVar[str] = "broken"

        def refine_mask(self, dense, pruned, stats, pattern, permutation):
            weight, keep = pruned.weight, pruned.keep
            weight, keep = FAULTS[fault][0](weight, keep) if self.second() else (weight, keep)
            return dataclasses.replace(pruned, weight=weight, keep=keep)

    told, done = broken_run(tiny_model("llama"), tokens, stages=[Broken()])
    assert told.startswith(f"{SECOND}: ")
    assert told.count(SECOND) == 1
    assert FAULTS[fault][1] in told
    assert len(done) == 1


def test_a_refine_stage_that_changes_the_sparsity_is_told(tiny_model, tokens):
    class Broken(Second, RefineStage):
        name: ClassVar[str] = "broken"

        def refine_mask(self, dense, pruned, stats, pattern, permutation):
            keep = one_more(pruned.keep) if self.second() else pruned.keep
            return dataclasses.replace(pruned, weight=dense * keep, keep=keep)

    told, _ = broken_run(tiny_model("llama"), tokens, pattern="unstructured", sparsity=0.5, stages=[Broken()])
    assert told.startswith(f"{SECOND}: stage = broken changed the sparsity")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_tune_stage_that_breaks_a_promise_is_told_with_the_module(tiny_model, tokens, fault):
    class Broken(Second, TuneStage):
        name: ClassVar[str] = "broken"
        target: Literal["dense", "sparse"] = "sparse"

        def tune(self, block):
            pruned = dict(block.pruned)
            weight, keep = FAULTS[fault][0](pruned[SECOND].weight, pruned[SECOND].keep)
            pruned[SECOND] = dataclasses.replace(pruned[SECOND], weight=weight, keep=keep)
            yield Tuned(pruned, {})

    told, _ = broken_run(tiny_model("llama"), tokens, stages=[Broken()])
    assert told.startswith(f"{SECOND}: stage = broken ")
    assert ("changed the mask" if fault in MASK_FAULTS else FAULTS[fault][1]) in told


def broken_block_stage(fault: str) -> Stage:
    """Breaks the second module of the second group of the first block: gate_proj is the first of the MLP."""

    class Broken(Second, BlockStage):
        name: ClassVar[str] = "broken"

        def refine(self, group, pattern, permutations):
            pruned = dict(group.pruned)
            if self.second():
                first = next(iter(pruned))
                weight, keep = FAULTS[fault][0](pruned[first].weight, pruned[first].keep)
                pruned[first] = dataclasses.replace(pruned[first], weight=weight, keep=keep)
            yield Refined(pruned, {name: {} for name in pruned}, {})

    return Broken()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_block_stage_that_breaks_a_promise_is_told_with_the_module(tiny_model, tokens, fault):
    told, _ = broken_run(tiny_model("llama"), tokens, stages=[broken_block_stage(fault)])
    if fault == "counts":  # of the group
        assert told.startswith("model.layers.0.mlp: stage = broken changed the sparsity")
        return
    assert told.startswith("model.layers.0.mlp.gate_proj: stage = broken ")
    assert FAULTS[fault][1] in told


def test_a_block_stage_that_changes_the_sparsity_is_told(tiny_model, tokens):
    """Weights may move between the modules of a group; their number in the group stays."""
    told, _ = broken_run(
        tiny_model("llama"), tokens, pattern="unstructured", sparsity=0.5, stages=[broken_block_stage("counts")]
    )
    assert told.startswith("model.layers.0.mlp: stage = broken changed the sparsity")


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_factors_that_are_not_finite_are_told_with_the_module(tiny_model, tokens, value):
    class Broken(Second, FactorStage):
        name: ClassVar[str] = "broken"

        def chooses(self, module, label):
            return label.endswith("proj")

        def check_module(self, module, shape):
            pass

        def factor(self, module, weight):
            factors = LowRank().factor(module, weight)
            return Factors(factors.left * value, factors.right, {}) if self.second() else factors

    told, _ = broken_run(tiny_model("llama"), tokens, stages=[Broken()])
    assert told.startswith(f"{SECOND}: stage = broken ")


def test_a_pattern_of_ones_own_survives_barber_or_is_refused(tiny_model, tokens):
    """Tiles of 2 × 2 weights go together; weights swapped one by one break them."""

    class Tiles(Pattern):
        name: ClassVar[str] = "tiles"
        title: ClassVar[str] = "Tiles"

        def keep(self, scores, sparsity):
            sums = scores.unfold(0, 2, 2).unfold(1, 2, 2).sum(dim=(2, 3))
            tiles = Unstructured(group="layer").keep(sums, sparsity)
            return tiles.repeat_interleave(2, dim=0).repeat_interleave(2, dim=1)

        def violation(self, keep, sparsity):
            kept = keep.unfold(0, 2, 2).unfold(1, 2, 2).sum(dim=(2, 3))
            return "tiles are torn" if ((kept != 0) & (kept != 4)).any() else None

    values = {"method": "magnitude", "pattern": Tiles(), "sparsity": 0.5, "calibration": {"windows": 4}}

    def run(*stages: Stage) -> None:
        list(prune_model(tiny_model("llama"), RunConfig.model_validate(values | {"stages": stages}), tokens))

    run()
    with pytest.raises(ValueError, match=r"[Tt]iles"):
        run(Barber(threshold=1.0))
