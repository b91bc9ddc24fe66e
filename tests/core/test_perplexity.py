import json
import math
import types

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoConfig, AutoModelForCausalLM

from core.evaluation import LOGITS_AT_ONCE
from core.evaluation.perplexity import token_losses, window_losses
from core.evaluation.result import Perplexity, perplexity
from tests.tiny_models import VOCABULARY, layers_of

SCALED = {
    "cohere": {"logit_scale": 0.5, "num_key_value_heads": 4},
    "granite": {"logits_scaling": 3.0},
    "gemma2": {"final_logit_softcapping": 2.0, "head_dim": 16, "query_pre_attn_scalar": 16},
}
"""Families that do something to what the head gives, strongly enough to be seen."""


def scaled_model(family: str):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    changes = {"num_key_value_heads": 2, "vocab_size": VOCABULARY, "initializer_range": 0.3} | SCALED[family]
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **sizes, **changes)).eval()


def naive_token_losses(model, windows: torch.Tensor) -> np.ndarray:
    """Each window alone through the model's own forward: log-softmax in float64, for every token but the first."""
    losses = np.empty((len(windows), windows.shape[1] - 1))
    for number, window in enumerate(windows):
        with torch.no_grad():
            logits = model(input_ids=window[None]).logits[0].double().numpy()
        for position in range(len(window) - 1):
            row = logits[position]
            normaliser = row.max() + np.log(np.exp(row - row.max()).sum())
            losses[number, position] = normaliser - row[window[position + 1]]
    return losses


def all_losses(model, windows: torch.Tensor, batch_size: int) -> torch.Tensor:
    return torch.cat(list(token_losses(model, windows, batch_size)))


@pytest.fixture(params=[7, 3, 1])
def few_at_once(request, monkeypatch) -> int:
    """So many positions of a batch of three at a time; 23 are not divisible by any but one."""
    monkeypatch.setattr("core.evaluation.perplexity.LOGITS_AT_ONCE", 3 * VOCABULARY * request.param)
    return request.param


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_equals_a_plain_loop_in_float64(tiny_model, tokens, family, batch_size):
    model = tiny_model(family)
    batches = list(token_losses(model, tokens, batch_size))
    expected = naive_token_losses(model, tokens)
    assert [len(batch) for batch in batches] == {1: [1, 1, 1, 1], 3: [3, 1], 8: [4]}[batch_size]
    np.testing.assert_allclose(torch.cat(batches), expected, rtol=1e-5, atol=1e-5)
    means = [loss for batch in batches for loss in window_losses(batch)]
    np.testing.assert_allclose(means, expected.mean(1), rtol=1e-5)
    assert perplexity(means, 24).value == pytest.approx(math.exp(expected.mean()), rel=1e-5)
    assert len({round(loss, 3) for loss in means}) == 4, "windows that differ, else their order would not matter"


def test_a_few_positions_at_a_time_come_to_the_same(tiny_model, tokens, family, few_at_once):
    model = tiny_model(family)
    rows = []
    model.get_output_embeddings().register_forward_hook(lambda _, args, out: rows.append(out.shape[1]))
    losses = all_losses(model, tokens, 3)
    of_a_window = math.ceil(23 / few_at_once)
    assert len(rows) == of_a_window + math.ceil(23 / (3 * few_at_once)), "the second batch has one window, so more fit"
    assert sum(rows) == 2 * 23, "no position twice, and not the last"
    np.testing.assert_allclose(losses, naive_token_losses(model, tokens), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", SCALED)
def test_caps_and_scales_of_the_logits_are_the_models_own(tokens, family, few_at_once):
    model = scaled_model(family)
    expected = naive_token_losses(model, tokens)
    np.testing.assert_allclose(all_losses(model, tokens, 3), expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        head, last = model.get_output_embeddings(), model.model(input_ids=tokens).last_hidden_state
        bare = torch.nn.functional.cross_entropy(head(last)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert abs(float(bare) - expected.mean()) > 0.01, "what the model does to its logits matters here"


def test_the_blocks_run_once_over_a_batch(tiny_model, tokens, few_at_once):
    """The head is asked again for every few positions; the blocks must not be."""
    model = tiny_model("llama")
    runs = []
    for layer in layers_of(model, "llama"):
        layer.mlp.register_forward_hook(lambda module, args, output: runs.append(module))
    all_losses(model, tokens, 3)
    assert len(runs) == 2 * 3


def test_a_family_that_cannot_make_some_logits_makes_all(tiny_model, tokens, few_at_once):
    model, expected = tiny_model("llama"), naive_token_losses(tiny_model("llama"), tokens)
    own, calls = model.forward, []

    def forward(self, input_ids=None, use_cache=None):
        calls.append(input_ids.shape)
        return own(input_ids=input_ids, use_cache=use_cache)

    model.forward = types.MethodType(forward, model)
    np.testing.assert_allclose(all_losses(model, tokens, 3), expected, rtol=1e-5, atol=1e-5)
    assert len(calls) == 2 * 2, "for each batch once through the blocks and once through the head"


def test_memory_is_bounded_for_a_vocabulary_of_262144(monkeypatch, tmp_path):
    """Peak of what torch allocates, by its profiler: logits and their log-softmax, not those of all 512 positions."""
    config = AutoConfig.for_model(
        "llama", vocab_size=2**18, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    model = AutoModelForCausalLM.from_config(config).eval()
    windows = torch.randint(2**18, (2, 256), generator=torch.Generator().manual_seed(0))
    whole = windows.numel() * 2**18 * 4
    assert whole == 4 * 4 * LOGITS_AT_ONCE
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        losses = all_losses(model, windows, 2)
    watched.export_chrome_trace(str(tmp_path / "trace.json"))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    allocated = [event["args"]["Total Allocated"] for event in events if event["name"] == "[memory]"]
    assert 0 < max(allocated) - min(allocated) < 2.1 * LOGITS_AT_ONCE * 4 < whole
    assert float(losses.mean()) == pytest.approx(math.log(2**18), rel=0.01), "a random model knows nothing"


def test_a_large_vocabulary_has_no_bias():
    """float32 sums of many exponentials may all err in one direction; then perplexities of any two programs differ."""
    config = AutoConfig.for_model(
        "llama", vocab_size=2**17, hidden_size=32, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.lm_head.weight.data.mul_(40)  # as peaked as a trained model: logits that spread over some units
    windows = torch.randint(2**17, (4, 64), generator=torch.Generator().manual_seed(0))
    ours = all_losses(model, windows, 4).double()
    with torch.no_grad():
        logits = model(input_ids=windows).logits.double()[:, :-1]
    expected = logits.logsumexp(-1) - logits.gather(-1, windows[:, 1:, None])[..., 0]
    assert abs(float((ours - expected).mean())) < 5e-7


def test_losses_are_computed_in_float32_from_bfloat16(tiny_model, tokens):
    model = tiny_model("llama").to(torch.bfloat16)
    np.testing.assert_allclose(all_losses(model, tokens, 1), naive_token_losses(model, tokens), rtol=1e-5, atol=1e-5)


def test_no_gradient_is_kept(tiny_model, tokens):
    model = tiny_model("llama")
    seen = []
    model.lm_head.register_forward_hook(lambda _, args, output: seen.append(output.requires_grad))
    for _ in token_losses(model, tokens, 2):
        assert torch.is_grad_enabled()
    assert seen == [False, False]


def test_the_model_is_as_it_was(tiny_model, tokens, family):
    model = tiny_model(family)
    before = model(input_ids=tokens).logits
    steps = token_losses(model, tokens, 2)
    next(steps)
    steps.close()
    assert all("forward" not in layer.__dict__ for layer in layers_of(model, family))
    assert torch.equal(model(input_ids=tokens).logits, before)


def test_value_and_standard_error_by_hand():
    """Losses 1, 2, 3: mean 2, variance 1; the error of the mean is sqrt(1/3), that of exp(mean) e^2 times as large."""
    measured = perplexity([1.0, 2.0, 3.0], 16)
    assert measured.value == pytest.approx(7.38905609893065)
    assert measured.standard_error == pytest.approx(7.38905609893065 * 0.5773502691896258)
    assert (measured.windows, measured.tokens) == (3, 45)
    assert measured.losses == (1.0, 2.0, 3.0)


def test_windows_weigh_the_same():
    assert perplexity([0.0, math.log(4.0)], 8).value == pytest.approx(2)


def test_a_single_window_has_no_standard_error():
    assert perplexity([2.0], 8).standard_error is None


def test_equal_windows_have_no_spread():
    assert perplexity([2.0, 2.0], 8).standard_error == 0


@pytest.mark.parametrize("loss", [1e4, math.inf])
def test_a_loss_beyond_all_numbers_is_an_infinite_perplexity(loss):
    measured = perplexity([loss, 1e4], 8)
    assert (measured.value, measured.standard_error) == (math.inf, None)


@pytest.mark.parametrize("losses", [[1.0, 2.0], [1e4, 1e4], [math.inf]])
def test_json_round_trip(losses):
    measured = perplexity(losses, 8)
    assert Perplexity.model_validate_json(measured.model_dump_json()) == measured


@pytest.mark.parametrize("losses", [[1.0, 2.0], [1e4, 1e4], [math.inf]])
def test_the_json_that_the_store_keeps_is_json_for_every_database(losses):
    """PostgreSQL refuses the words Infinity and NaN, which Python writes."""
    text = json.dumps(perplexity(losses, 8).model_dump(mode="json"), allow_nan=False)
    assert Perplexity.model_validate(json.loads(text)) == perplexity(losses, 8)


def test_a_loss_that_is_not_a_number_does_not_pass_for_infinite():
    assert math.isnan(perplexity([math.nan, 1.0], 8).value)
