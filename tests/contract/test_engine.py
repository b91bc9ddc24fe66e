"""Every method with every pattern on every family, end to end, and what the engine promises beside."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from core.config import RunConfig
from core.engine import prune_model
from core.errors import InputError
from core.events import BlockFinished, BlockStarted, Finished, ModulePruned, Working
from core.layer_error import reconstruction_error
from core.methods import Method, ScoreMethod
from core.methods.magnitude import Magnitude
from core.methods.sparsegpt import SparseGPT
from core.methods.wanda import Wanda
from core.patterns import NM, Unstructured
from tests.tiny_models import FAMILIES, VOCABULARY, layers_of

METHODS = {name: Method.registry[name]() for name in sorted(Method.registry)} | {
    "sparsegpt-16": SparseGPT(blocksize=16)
}
PATTERNS = {
    **{group: Unstructured(group=group) for group in ("auto", "layer", "output", "input")},
    **{f"{n}:{m}": NM(n=n, m=m) for n, m in ((2, 4), (1, 4), (4, 8))},
}
SPARSITY = 0.37  # divides nothing


def supported(method: Method, pattern) -> bool:
    try:
        method.check(pattern)
    except InputError:
        return False
    return True


# Every method with the two usual patterns on every family; every pattern on a family of Linear and one of Conv1D.
CASES = [
    (family, method, pattern)
    for family in FAMILIES
    for method in METHODS
    for pattern in PATTERNS
    if (family in ("llama", "gpt2") or (pattern in ("auto", "2:4") and method in Method.registry))
    and supported(METHODS[method], PATTERNS[pattern])
]


def config_for(method, pattern, batch_size=3) -> RunConfig:
    values = {"method": method, "pattern": pattern, "calibration": {"windows": 4, "batch_size": batch_size}}
    return RunConfig.model_validate(values | ({"sparsity": SPARSITY} if pattern.sparsity is None else {}))


def linear_maps(model) -> dict[str, nn.Module]:
    head = model.get_output_embeddings()
    return {n: m for n, m in model.named_modules() if isinstance(m, (nn.Linear, Conv1D)) and m is not head}


def weights(model):
    """Copies of all prunable weights as [out, in]."""
    return {
        name: (module.weight.T if isinstance(module, Conv1D) else module.weight).detach().clone()
        for name, module in linear_maps(model).items()
    }


def groups_of(keep: torch.Tensor, method: Method, pattern) -> list[torch.Tensor]:
    """What is pruned as matrices [groups, size] of comparison groups."""
    pruned = ~keep
    if isinstance(pattern, NM):
        return [pruned.reshape(-1, pattern.m)]
    group = method.group if pattern.group == "auto" else pattern.group
    # SparseGPT decides block by block, and so compares within each block of columns.
    parts = pruned.split(getattr(method, "blocksize", pruned.shape[1]), dim=1)
    return [{"layer": part.reshape(1, -1), "output": part, "input": part.T}[group] for part in parts]


def state(model) -> tuple:
    """All that a run must put back."""
    return (
        [module.training for module in model.modules()],
        [len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules()],
        ["forward" in module.__dict__ for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        model.config.use_cache,
    )


@pytest.mark.parametrize(("family", "method", "pattern"), CASES)
def test_masks_are_exact_and_the_weights_obey_them(tiny_model, tokens, family, method, pattern):
    model, method, pattern = tiny_model(family), METHODS[method], PATTERNS[pattern]
    dense = weights(model)
    events = list(prune_model(model, config_for(method, pattern), tokens))
    pruned, modules = weights(model), [event for event in events if isinstance(event, ModulePruned)]
    assert [event.module for event in modules] == list(dense)
    sparsity = SPARSITY if pattern.sparsity is None else pattern.sparsity
    for event in modules:
        for groups in groups_of(event.keep, method, pattern) if method.exact else []:
            assert (groups.sum(dim=1) == int(groups.shape[1] * sparsity)).all()
        assert event.keep.shape == dense[event.module].shape == event.shape
        assert (pruned[event.module][~event.keep] == 0).all()
        assert (event.pruned, event.target) == (int((~event.keep).sum()), pytest.approx(sparsity))
        assert method.exact or event.sparsity == pytest.approx(sparsity, abs=0.02)
        assert 0 < event.error < 1
        survivors = pruned[event.module][event.keep], dense[event.module][event.keep]
        assert event.updated == (not torch.equal(*survivors))
        assert not (event.updated and isinstance(method, ScoreMethod))
    assert (events[-1].pruned, events[-1].parameters) == (
        sum(int((~event.keep).sum()) for event in modules),
        sum(weight.numel() for weight in dense.values()),
    )
    assert events[-1].sparsity == events[-1].pruned / events[-1].parameters


def test_events_come_in_order(tiny_model, tokens, family):
    model = tiny_model(family)
    expected: list[tuple] = []
    for index, layer in enumerate(layers_of(model, family)):
        name = next(n for n, module in model.named_modules() if module is layer)
        expected.append((BlockStarted, index, name))
        labels = [n for n, m in layer.named_modules() if isinstance(m, (nn.Linear, Conv1D))]
        expected += [(ModulePruned, index, f"{name}.{label}", label) for label in labels]
        expected.append((BlockFinished, index))
    found = []
    for event in prune_model(model, config_for(Wanda(), NM()), tokens):
        if isinstance(event, BlockStarted):
            found.append((BlockStarted, event.block, event.name))
        elif isinstance(event, ModulePruned):
            found.append((ModulePruned, event.block, event.module, event.label))
        elif isinstance(event, BlockFinished):
            found.append((BlockFinished, event.block))
        elif not isinstance(event, Working):
            assert isinstance(event, Finished)
            assert len(found) == len(expected), "Finished comes last"
    assert found == expected


@pytest.mark.parametrize(("pattern", "batch_size"), [(Unstructured(), 1), (NM(), 3)], ids=["rows", "2:4"])
def test_wanda_equals_a_plain_loop_over_the_model(tiny_model, tokens, family, pattern, batch_size):
    """One block after the other: the inputs of its modules from the whole, half pruned model's own forward."""
    model, plain = tiny_model(family), tiny_model(family)
    events = {
        event.module: event
        for event in prune_model(model, config_for(Wanda(), pattern, batch_size), tokens)
        if isinstance(event, ModulePruned)
    }
    for layer in layers_of(plain, family):
        inside = {n: m for n, m in linear_maps(plain).items() if any(m is child for child in layer.modules())}
        inputs = {name: [] for name in inside}
        hooks = [
            m.register_forward_pre_hook(lambda _, args, seen=inputs[name]: seen.append(args[0].detach()))
            for name, m in inside.items()
        ]
        with torch.no_grad():
            for window in tokens:
                plain(input_ids=window[None])
        for hook in hooks:
            hook.remove()
        for name, module in inside.items():
            x = torch.cat([chunk.reshape(-1, chunk.shape[-1]) for chunk in inputs[name]]).double()
            stored = module.weight.data.T if isinstance(module, Conv1D) else module.weight.data
            dense = stored.clone()
            norm = (x.square().sum(dim=0) / len(tokens)).sqrt()
            size = pattern.m if isinstance(pattern, NM) else stored.shape[1]
            count = pattern.m - pattern.n if isinstance(pattern, NM) else int(size * SPARSITY)
            scores = (dense.abs() * norm).reshape(-1, size)
            gone = scores.argsort(dim=1, stable=True)[:, :count]
            stored.masked_fill_(
                torch.zeros_like(scores, dtype=torch.bool).scatter(1, gone, True).reshape(dense.shape), 0
            )
            x = x[:64]  # the sample, of 96 tokens
            error = (x @ (dense - stored).double().T).norm() / (x @ dense.double().T).norm()
            assert events[name].error == pytest.approx(float(error), rel=1e-4)
    ours, theirs = weights(model), weights(plain)
    for name in theirs:
        assert torch.equal(ours[name], theirs[name]), name


@pytest.mark.parametrize("method", [Wanda(), SparseGPT()], ids=lambda method: method.name)
def test_batch_size_changes_no_mask(tiny_model, tokens, method):
    keeps = []
    for batch_size in (1, 3, 4):
        events = prune_model(tiny_model("llama"), config_for(method, NM(), batch_size), tokens)
        keeps.append([event.keep for event in events if isinstance(event, ModulePruned)])
    for module in zip(*keeps, strict=True):
        assert all(torch.equal(module[0], other) for other in module[1:])


def test_conv1d_is_pruned_along_its_inputs(tiny_model, tokens):
    """GPT-2 stores [in, out]: two of four consecutive rows survive in each column."""
    model = tiny_model("gpt2")
    list(prune_model(model, config_for(Magnitude(), NM()), tokens))
    stored = model.transformer.h[0].attn.c_attn.weight
    assert stored.shape == (32, 96)
    assert ((stored.reshape(8, 4, 96) != 0).sum(dim=1) == 2).all()
    assert not ((stored.reshape(32, 24, 4) != 0).sum(dim=2) == 2).all()


def test_only_linear_weights_change(tiny_model, tokens, family):
    model, before = tiny_model(family), tiny_model(family)
    list(prune_model(model, config_for(SparseGPT(), NM()), tokens))
    touched = {f"{name}.weight" for name in linear_maps(model)}
    for (name, ours), (_, theirs) in zip(model.state_dict().items(), before.state_dict().items(), strict=True):
        assert torch.equal(ours, theirs) == (name not in touched), name


def test_low_precision_weights_keep_their_type(tiny_model, tokens):
    model = tiny_model("llama").to(torch.bfloat16)
    dense = weights(model)
    events = [e for e in prune_model(model, config_for(SparseGPT(), NM()), tokens) if isinstance(e, ModulePruned)]
    for event in events:
        weight = weights(model)[event.module]
        assert weight.dtype == torch.bfloat16
        assert (weight[~event.keep] == 0).all()
        assert not torch.equal(weight, dense[event.module] * event.keep)
        assert event.updated


@pytest.mark.parametrize(("family", "training"), [*((family, True) for family in FAMILIES), ("llama", False)])
def test_the_model_is_given_back_as_it_was(tiny_model, tokens, family, training):
    model = tiny_model(family).train(training)
    before = state(model)
    list(prune_model(model, config_for(Wanda(), NM()), tokens))
    assert state(model) == before


@pytest.mark.parametrize(("family", "steps"), [*((family, 3) for family in FAMILIES), ("llama", 1), ("llama", 2)])
def test_closing_midway_stops_and_restores(tiny_model, tokens, family, steps):
    model = tiny_model(family).train()
    before, dense = state(model), weights(model)
    run = prune_model(model, config_for(Wanda(), NM()), tokens)
    done = [next(run) for _ in range(steps)]
    run.close()
    assert state(model) == before
    pruned = {event.module for event in done if isinstance(event, ModulePruned)}
    assert {name for name, weight in weights(model).items() if not torch.equal(weight, dense[name])} == pruned
    with torch.no_grad():
        assert model(input_ids=tokens).logits.isfinite().all()


def test_a_model_that_trains_is_pruned_without_dropout(tiny_model, tokens):
    keeps = []
    for training in (True, False):
        model = tiny_model("gpt2", resid_pdrop=0.5, attn_pdrop=0.5).train(training)
        keeps.append(
            [e.keep for e in prune_model(model, config_for(Wanda(), NM()), tokens) if isinstance(e, ModulePruned)]
        )
    assert all(torch.equal(*pair) for pair in zip(*keeps, strict=True))


def test_modules_in_evaluation_mode_stay_there_in_a_model_that_trains(tiny_model, tokens):
    model = tiny_model("llama").train()
    model.model.embed_tokens.eval()
    before = state(model)
    list(prune_model(model, config_for(Magnitude(), NM()), tokens))
    assert state(model) == before


def test_no_gradient_is_kept_inside_and_the_readers_mode_outside(tiny_model, tokens):
    model = tiny_model("llama")
    inside = []
    model.model.layers[1].mlp.register_forward_pre_hook(lambda _, args: inside.append(args[0].requires_grad))
    for _ in prune_model(model, config_for(Wanda(), NM()), tokens):
        assert torch.is_grad_enabled()
    assert len(inside) == 4, "two batches, once for the statistics and once pruned"
    assert not any(inside)


@pytest.fixture
def clean_registry(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(Method.registry, "_classes", dict(Method.registry._classes))


def test_a_method_gets_the_statistics_of_all_tokens_per_sequence(tiny_model, tokens, clean_registry):
    seen, inputs = [], []

    class Recording(Wanda):
        name = "recording"
        needs = frozenset({"norm", "gram"})

        def prune(self, weight, stats, pattern, sparsity):
            seen.append(stats)
            return super().prune(weight, stats, pattern, sparsity)

    model, dense = tiny_model("llama"), tiny_model("llama")
    layers_of(dense, "llama")[0].self_attn.q_proj.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    with torch.no_grad():
        dense(input_ids=tokens)
    list(prune_model(model, config_for(Recording(), NM()), tokens))
    x = inputs[0].flatten(0, 1).double()
    torch.testing.assert_close(seen[0]["norm"].double(), (x.square().sum(0) / 4).sqrt(), rtol=1e-5, atol=0)
    torch.testing.assert_close(seen[0]["gram"].double(), 2 / 4 * x.T @ x, rtol=1e-4, atol=1e-5)
    assert seen[0] is seen[1] is seen[2], "q, k and v read one tensor"


@pytest.fixture
def failing_method(clean_registry):
    """A method that prunes two modules and fails at the third, with the exception it is told."""
    calls = []

    class Failing(Magnitude):
        name = "failing"
        title = "Failing"
        user_error: bool = False

        def prune(self, weight, stats, pattern, sparsity):
            calls.append(1)
            if len(calls) == 3:
                raise InputError("no luck") if self.user_error else ZeroDivisionError
            return super().prune(weight, stats, pattern, sparsity)

    return Failing


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_exception_in_a_method_restores_the_model(tiny_model, tokens, failing_method, family):
    model = tiny_model(family).train()
    before = state(model)
    with pytest.raises(ZeroDivisionError):
        list(prune_model(model, config_for(failing_method(), NM()), tokens))
    assert state(model) == before


def test_a_methods_own_error_names_the_module(tiny_model, tokens, failing_method):
    with pytest.raises(InputError, match=r"^model\.layers\.0\.self_attn\.v_proj: no luck$"):
        list(prune_model(tiny_model("llama"), config_for(failing_method(user_error=True), NM()), tokens))


def test_an_exception_in_the_model_restores_it(tiny_model, tokens):
    model = tiny_model("llama").train()
    hook = layers_of(model, "llama")[1].mlp.register_forward_pre_hook(lambda *_: 1 / 0)
    before = state(model)
    with pytest.raises(ZeroDivisionError):
        list(prune_model(model, config_for(Wanda(), NM()), tokens))
    assert state(model) == before
    hook.remove()


def test_a_pattern_that_does_not_fit_is_refused_before_any_work(tiny_model, tokens):
    model = tiny_model("llama", intermediate_size=60)
    before = weights(model)
    with pytest.raises(InputError, match=r"4:8 does not fit model\.layers\.0\.mlp\.down_proj: its 60 inputs"):
        next(prune_model(model, config_for(Magnitude(), NM(n=4, m=8)), tokens))
    assert all(torch.equal(weight, before[name]) for name, weight in weights(model).items())


def test_dead_inputs_are_counted_beside_the_mask(tiny_model, tokens):
    model = tiny_model("llama")
    norm = layers_of(model, "llama")[0].input_layernorm
    norm.weight.data[[4, 5, 6]] = 0  # three of a group of which two are pruned
    run = prune_model(model, config_for(SparseGPT(), NM()), tokens)
    events = {event.module: event for event in run if isinstance(event, ModulePruned)}
    query = events["model.layers.0.self_attn.q_proj"]
    assert (query.dead_inputs, query.pruned) == (3, 32 * 32 // 2)
    assert events["model.layers.1.self_attn.q_proj"].dead_inputs == 0


@pytest.mark.parametrize("method", [Magnitude(), Wanda()], ids=lambda method: method.name)
def test_the_error_is_measured_on_the_first_64_tokens(tiny_model, method):
    """Also by a method that needs no statistics, for which no more text is run than that."""
    tokens = torch.randint(0, VOCABULARY, (9, 40), generator=torch.Generator().manual_seed(5))
    model, dense = tiny_model("llama"), tiny_model("llama")
    name, seen, read = "model.layers.0.mlp.up_proj", [], []
    dense.get_submodule(name).register_forward_pre_hook(lambda _, args: seen.append(args[0].flatten(0, 1)))
    model.get_submodule(name).register_forward_pre_hook(lambda _, args: read.append(args[0].flatten(0, 1)))
    with torch.no_grad():
        dense(input_ids=tokens)
    events = {e.module: e for e in prune_model(model, config_for(method, NM()), tokens) if isinstance(e, ModulePruned)}
    x, weight = seen[0][:64], weights(dense)[name]
    error = (x @ (weight - weights(model)[name]).T).norm() / (x @ weight.T).norm()
    assert events[name].error == pytest.approx(float(error), rel=1e-4)
    once = sum(map(len, read)) // 2  # for the statistics, and pruned
    assert once == (80 if method.name == "magnitude" else 360), "two windows hold 64 tokens"


def test_reconstruction_error_equals_the_direct_computation():
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(200, 12, generator=generator)
    dense = torch.randn(7, 12, generator=generator)
    pruned = dense * (torch.rand(7, 12, generator=generator) < 0.5)
    lost = torch.tensor(0.0, dtype=torch.float64)
    whole = lost.clone()
    for token in x.double():
        lost += (dense.double() @ token - pruned.double() @ token).square().sum()
        whole += (dense.double() @ token).square().sum()
    assert reconstruction_error(dense, pruned, x) == pytest.approx(float((lost / whole).sqrt()), rel=1e-5)


def test_reconstruction_error_by_hand():
    """X = [[3, 0], [0, 4]], W = [1, 1] without its first weight: lost |(3, 0)|, whole |(3, 4)| = 5."""
    x, dense, pruned = torch.tensor([[3.0, 0], [0, 4]]), torch.tensor([[1.0, 1]]), torch.tensor([[0.0, 1]])
    assert reconstruction_error(dense, pruned, x) == pytest.approx(0.6)


def test_a_silent_input_loses_nothing():
    assert reconstruction_error(torch.ones(3, 2), torch.zeros(3, 2), torch.zeros(4, 2)) == 0.0
