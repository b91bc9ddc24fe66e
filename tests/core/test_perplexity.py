import json
import math

import numpy as np
import pytest
import torch

from core.evaluation.perplexity import window_losses
from core.evaluation.result import Perplexity, perplexity


def naive_losses(model, windows: torch.Tensor) -> list[float]:
    """Each window alone: log-softmax in float64, then the mean over every token but the first."""
    losses = []
    for window in windows:
        with torch.no_grad():
            logits = model(input_ids=window[None]).logits[0].double().numpy()
        terms = []
        for position in range(len(window) - 1):
            row = logits[position]
            normaliser = row.max() + np.log(np.exp(row - row.max()).sum())
            terms.append(normaliser - row[window[position + 1]])
        losses.append(sum(terms) / len(terms))
    return losses


@pytest.mark.parametrize("batch_size", [1, 3, 8])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom", "gemma3_text"])
def test_equals_a_plain_loop_in_float64(tiny_model, tokens, family, batch_size):
    model = tiny_model(family)
    batches = list(window_losses(model, tokens, batch_size))
    losses = [loss for batch in batches for loss in batch]
    expected = naive_losses(model, tokens)
    assert [len(batch) for batch in batches] == {1: [1, 1, 1, 1], 3: [3, 1], 8: [4]}[batch_size]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert perplexity(losses, 24).value == pytest.approx(math.exp(sum(expected) / 4), rel=1e-5)
    assert len({round(loss, 3) for loss in losses}) == 4, "windows that differ, else their order would not matter"


def test_losses_are_computed_in_float32_from_bfloat16(tiny_model, tokens):
    model = tiny_model("llama").to(torch.bfloat16)
    losses = [loss for batch in token_losses(model, tokens, 1) for loss in window_losses(batch)]
    np.testing.assert_allclose(losses, naive_losses(model, tokens), rtol=1e-5)


def test_no_gradient_is_kept(tiny_model, tokens):
    model = tiny_model("llama")
    seen = []
    model.lm_head.register_forward_hook(lambda _, args, output: seen.append(output.requires_grad))
    for _ in window_losses(model, tokens, 2):
        assert torch.is_grad_enabled()
    assert seen == [False, False]


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
