"""The authors' own programs on one seeded layer (tests/golden); their masks are True where a weight is pruned."""

import pytest
import torch

from core.methods.column_sweep import inverse_factor, sweep
from core.methods.magnitude import Magnitude
from core.methods.sparsegpt import SparseGPT
from core.methods.wanda import Wanda
from core.patterns import NM, Pattern, Unstructured
from core.statistics import STATISTICS, InputStatistics

PATTERNS = ["0.5", "0.7", "2:4", "4:8"]


def assert_close(ours: torch.Tensor, reference: torch.Tensor, tolerance: float) -> None:
    """The largest difference is below ``tolerance`` times the largest reference value."""
    assert (ours - reference).abs().max() < tolerance * reference.abs().max()


def parse(text: str) -> tuple[Pattern, float]:
    return (Pattern.parse(text), 0.5) if ":" in text else (Unstructured(), float(text))


@pytest.fixture
def weight(golden):
    return golden["in/W1"]


@pytest.fixture
def stats(golden):
    x = golden["in/X_W1"]
    running = {name: STATISTICS[name](128, 4, x.device) for name in ("norm", "gram")}
    for statistic in running.values():
        for sequence in x:
            statistic.update(sequence)
    return InputStatistics({name: statistic.finish() for name, statistic in running.items()})


def test_statistics(golden, stats):
    torch.testing.assert_close(stats["norm"].square(), golden["wanda/W1/scaler_row"], rtol=2e-6, atol=0)
    assert_close(stats["gram"], golden["sparsegpt/W1/H"], 1e-6)


@pytest.mark.parametrize("text", ["0.5", "0.7"])
def test_magnitude_prunes_one_weight_less(golden, weight, stats, text):
    ours = ~Magnitude().prune(weight, stats, *parse(text)).keep
    theirs = golden[f"magnitude/W1/{text}/mask"]
    assert not (ours & ~theirs).any()
    assert int((theirs & ~ours).sum()) == 1
    assert int(ours.sum()) == int(12288 * float(text))


@pytest.mark.parametrize("text", ["2:4", "4:8"])
def test_magnitude_n_of_m(golden, weight, stats, text):
    assert torch.equal(~Magnitude().prune(weight, stats, *parse(text)).keep, golden[f"magnitude/W1/{text}/mask"])


@pytest.mark.parametrize("text", PATTERNS)
def test_wanda_masks(golden, weight, stats, text):
    assert torch.equal(~Wanda().prune(weight, stats, *parse(text)).keep, golden[f"wanda/W1/{text}/mask"])


def test_wanda_metric(golden, weight, stats):
    torch.testing.assert_close(Wanda().score(weight, stats), golden["wanda/W1/metric"], rtol=1e-6, atol=0)


def test_sparsegpt_inverse_factor(golden):
    factor = inverse_factor(golden["sparsegpt/W1/H"], 0.01)
    assert_close(factor, golden["sparsegpt/W1/Hinv_chol"], 1e-5)
    assert torch.equal(factor, factor.triu())


@pytest.mark.parametrize("text", ["2:4", "4:8"])
def test_sparsegpt_n_of_m_in_full(golden, weight, stats, text):
    result = SparseGPT().prune(weight, stats, *parse(text))
    assert torch.equal(~result.keep, golden[f"sparsegpt/W1/{text}/mask"])
    assert_close(result.weight, golden[f"sparsegpt/W1/{text}/weight"], 1e-5)


@pytest.mark.parametrize(
    ("text", "blocksize"), [*((text, 128) for text in PATTERNS), ("0.5_bs32", 32), ("2:4", 32), ("0.5", 32)]
)
def test_sparsegpt_update_for_the_golden_mask(golden, weight, stats, text, blocksize):
    keep = ~golden[f"sparsegpt/W1/{text}/mask"]
    updated, kept = sweep(
        weight,
        inverse_factor(stats["gram"], 0.01),
        lambda start, saliency: keep[:, start : start + saliency.shape[1]],
        blocksize,
        NM(n=2, m=4).span if text == "2:4" else None,
    )
    assert torch.equal(kept, keep)
    assert_close(updated, golden[f"sparsegpt/W1/{text}/weight"], 1e-5)


@pytest.mark.parametrize(("text", "blocksize", "blocks"), [("0.5", 128, 1), ("0.7", 128, 1), ("0.5_bs32", 32, 4)])
def test_sparsegpt_unstructured_prunes_one_weight_less_a_block(golden, weight, stats, text, blocksize, blocks):
    ours = ~SparseGPT(blocksize=blocksize).prune(weight, stats, Unstructured(), float(text[:3])).keep
    theirs = golden[f"sparsegpt/W1/{text}/mask"]
    assert not (ours & ~theirs).any()
    assert int((theirs & ~ours).sum()) == blocks


@pytest.mark.parametrize("layout", ["perlayer", "perout"])
def test_the_authors_reconstruction_of_a_ria_mask(golden, weight, stats, layout):
    keep = ~golden[f"ria/W1/{layout}_0.5_recon/mask"]
    updated, _ = sweep(
        weight,
        inverse_factor(stats["gram"], 0.01),
        lambda start, saliency: keep[:, start : start + saliency.shape[1]],
    )
    assert_close(updated, golden[f"ria/W1/{layout}_0.5_recon/weight"], 1e-5)
