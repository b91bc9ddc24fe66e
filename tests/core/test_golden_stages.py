"""The authors' own programs on one seeded layer (tests/golden); their masks are True where a weight is pruned."""

import json
from pathlib import Path

import pytest
import torch

from core.methods.base import Pruned
from core.methods.clearcut import ClearCut
from core.methods.ria import RI, RIA
from core.methods.wanda import Wanda
from core.methods.wanda_variant import WandaVariant, prune_adaptively
from core.patterns import NM, Unstructured
from core.stages.barber import rebuild
from core.stages.base import Choice
from core.stages.reallocation import Reallocation, deal, rank_channels
from core.stages.reconstruction import Reconstruction
from core.statistics import InputStatistics

LAYER, ROW = Unstructured(group="layer"), Unstructured(group="output")
METRICS = ["WD", "W", "D"]


@pytest.fixture(scope="module")
def figures():
    """The numbers that go with the arrays."""
    return json.loads((Path(__file__).parents[1] / "golden" / "layers.json").read_text(encoding="utf-8"))


@pytest.fixture
def weight(golden):
    return golden["in/W1"]


@pytest.fixture
def stats(golden):
    return InputStatistics({"norm": golden["wanda/W1/scaler_row"].sqrt(), "gram": golden["sparsegpt/W1/H"]})


@pytest.mark.parametrize(
    ("method", "key"), [(RI(), "ria/W1/ri_score"), (RIA(), "ria/W1/score"), (ClearCut(), "clearcut/W1/score")]
)
def test_scores(golden, weight, stats, method, key):
    torch.testing.assert_close(method.score(weight, stats), golden[key], rtol=1e-6, atol=0)


@pytest.mark.parametrize("text", ["2:4", "4:8"])
def test_ria_n_of_m(golden, weight, stats, text):
    assert torch.equal(~RIA().prune(weight, stats, NM.parse(text), 0.5).keep, golden[f"ria/W1/{text}/mask"])


def test_ria_by_output(golden, weight, stats):
    assert torch.equal(~RIA().prune(weight, stats, ROW, 0.5).keep, golden["ria/W1/perout_0.5/mask"])


@pytest.mark.parametrize(
    ("method", "key", "sparsity"),
    [(RIA(), "perlayer_0.5", 0.5), (RIA(), "perlayer_0.7", 0.7), (RI(), "ri_perlayer_0.5", 0.5)],
)
def test_ria_over_the_matrix_prunes_one_weight_less(golden, weight, stats, method, key, sparsity):
    ours, theirs = ~method.prune(weight, stats, Unstructured(), sparsity).keep, golden[f"ria/W1/{key}/mask"]
    assert int(ours.sum()) == int(12288 * sparsity)
    assert not (ours & ~theirs).any()
    assert int((theirs & ~ours).sum()) == 1


@pytest.mark.parametrize(("text", "sparsity"), [("2:4", 0.5), ("4:8", 0.5), ("1:4", 0.75), ("3:4", 0.25)])
def test_what_clearcut_calls_n_of_m_is_our_unstructured_mask(golden, weight, stats, text, sparsity):
    """Theirs keeps N/M of each row, anywhere in it; ours keeps N of every M."""
    theirs = golden[f"clearcut/W1/{text}/mask"]
    assert torch.equal(~ClearCut().prune(weight, stats, Unstructured(), sparsity).keep, theirs)
    pattern = NM.parse(text)
    assert pattern.violation(~theirs, sparsity)
    assert pattern.violation(ClearCut().prune(weight, stats, pattern, sparsity).keep, sparsity) is None


def test_wanda_variant(golden, figures, weight, stats):
    pruned, alpha = prune_adaptively(Wanda().score(weight, stats), 0.5)
    assert alpha == figures["wanda/W1/variant0.5"]["alpha"]
    assert torch.equal(pruned, golden["wanda/W1/variant0.5/mask"])
    assert torch.equal(~WandaVariant().prune(weight, stats, Unstructured(), 0.5).keep, pruned)


def reallocated(stage: Reallocation, scores: torch.Tensor, text: str) -> Choice:
    *_, choice = stage.choose(scores, NM.parse(text), 0.5)
    assert isinstance(choice, Choice)
    return choice


@pytest.mark.parametrize(
    ("text", "key", "importance"),
    [
        ("2:4", "sum", "sum"),
        ("4:8", "sum", "sum"),
        ("2:4", "retained_degree_per_outneuron", "retained_degree_output"),
    ],
)
def test_reallocation(golden, figures, weight, stats, text, key, importance):
    scores, key = RIA().score(weight, stats), f"ria/W1/{text}_realloc_{key}"
    assert torch.equal(rank_channels(scores, importance, 0.5), golden[f"{key}/sorted_idx"])
    choice = reallocated(Reallocation(importance=importance), scores, text)
    assert torch.equal(choice.permutation, golden[f"{key}/index"])
    assert torch.equal(~choice.keep, golden[f"{key}/mask"])
    assert choice.report == {
        "retained_plain": pytest.approx(figures[key]["pre_score"], rel=1e-6),
        "retained_reallocated": pytest.approx(figures[key]["after_heuristic"], rel=1e-6),
    }


def test_retained_degree_over_the_matrix_is_theirs_with_one_weight_more_pruned(golden, figures, weight, stats):
    """Their ``<=`` prunes 6145 of 12288 before they count what is retained, which swaps three channels in the ranking."""
    scores, key = RIA().score(weight, stats), "ria/W1/2:4_realloc_retained_degree_unstructured"
    theirs = golden[f"{key}/sorted_idx"]
    assert int((rank_channels(scores, "retained_degree", 0.5) != theirs).sum()) == 3
    order = rank_channels(scores, "retained_degree", 6145 / 12288)
    assert torch.equal(order, theirs)
    permutation = deal(order, 4)
    assert torch.equal(permutation, golden[f"{key}/index"])
    mask = torch.empty_like(golden[f"{key}/mask"])
    mask[:, permutation] = ~NM().keep(scores[:, permutation], 0.5)
    assert torch.equal(mask, golden[f"{key}/mask"])
    # The retained score of 2:4 hardly feels the three channels.
    report = reallocated(Reallocation(importance="retained_degree"), scores, "2:4").report
    assert report["retained_reallocated"] == pytest.approx(figures[key]["after_heuristic"], rel=1e-4)


def test_lsa(golden, figures, weight, stats):
    key = "ria/W1/2:4_realloc_sum_lsa"
    choice = reallocated(Reallocation(lsa=True), RIA().score(weight, stats), "2:4")
    assert torch.equal(choice.permutation, golden[f"{key}/index"])
    assert torch.equal(~choice.keep, golden[f"{key}/mask"])
    rounds = [figures[key]["after_heuristic"], *figures[key]["lsa_rounds"]]
    assert list(choice.report.values())[1:] == [pytest.approx(value, rel=1e-6) for value in rounds]


@pytest.mark.parametrize("layout", ["perlayer", "perout"])
def test_reconstruction_of_their_mask(golden, weight, stats, layout):
    keep = ~golden[f"ria/W1/{layout}_0.5_recon/mask"]
    result = Reconstruction().update(weight, Pruned(weight * keep, keep), stats)
    theirs = golden[f"ria/W1/{layout}_0.5_recon/weight"]
    assert torch.equal(result.keep, keep)
    assert (result.weight - theirs).abs().max() < 1e-5 * theirs.abs().max()


def barber(golden, pattern, granularity, metric, threshold):
    """(metric, mask before, ours, theirs), masks True where kept."""
    gradient, magnitude = golden["barber/W1/scalers"].sqrt(), golden["in/W1"].abs()
    metrics = {"WD": magnitude * gradient, "W": magnitude, "D": gradient}[metric]
    prefix = "2:4_" if isinstance(pattern, NM) else ""
    before = ~golden[f"wanda/W1/{prefix[:3] or '0.5'}/mask"]
    ours = rebuild({"W1": metrics}, {"W1": before}, granularity, threshold, pattern, {"W1": None})["W1"]
    return metrics, before, ours, ~golden[f"barber/W1/{prefix}{granularity}_{metric}_{threshold}/mask"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("threshold", [0.01, 0.1])
@pytest.mark.parametrize("granularity", ["layer", "output1", "input1"])
def test_barber(golden, figures, granularity, metric, threshold):
    _, before, ours, theirs = barber(golden, ROW, granularity, metric, threshold)
    assert torch.equal(ours, theirs)
    assert int((ours != before).sum()) == figures[f"barber/W1/{granularity}_{metric}_{threshold}"]["changed"]


@pytest.mark.parametrize("metric", ["W", "D"])
def test_barber_swaps_every_mismatched_pair_of_a_matrix(golden, metric):
    _, _, ours, theirs = barber(golden, ROW, "layer", metric, 1.0)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("granularity", "metric"),
    [("layer", "WD"), *((granularity, metric) for granularity in ("output1", "input1") for metric in METRICS)],
)
def test_barber_keeps_the_sparsity_where_theirs_drifts(golden, figures, granularity, metric):
    """At threshold 1 their cut, not confined to what was kept before, takes back some of what has just grown (and where
    every pruned weight of a group is mismatched, one less is swapped): their swaps are among ours, and fewer grow."""
    _, before, ours, theirs = barber(golden, ROW, granularity, metric, 1.0)
    assert figures[f"barber/W1/{granularity}_{metric}_1.0"]["sparsity"] > 0.5
    assert float(ours.double().mean()) == 0.5
    assert not (theirs & ~before & ~ours).any(), "grown by theirs alone"
    assert not (before & ~theirs & ours).any(), "cut by theirs alone"
    assert int((theirs & ~before).sum()) < int((ours & ~before).sum())


def test_barber_on_a_block_of_one_matrix_is_barber_on_the_matrix(golden):
    """The golden files hold no masks of whole blocks, only counts that depend on a second matrix they do not hold."""
    assert not any("block" in key for key in golden)
    for metric in METRICS:
        keep, metrics = ~golden["wanda/W1/0.5/mask"], barber(golden, ROW, "layer", metric, 0.1)[0]
        ours = rebuild({"W1": metrics}, {"W1": keep}, "block", 0.1, ROW, {"W1": None})["W1"]
        assert torch.equal(ours, ~golden[f"barber/W1/layer_{metric}_0.1/mask"])


@pytest.mark.parametrize("threshold", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("metric", METRICS)
def test_barber_n_of_m_is_theirs_less_the_swaps_that_lower_the_metric(golden, metric, threshold):
    """Theirs grows a weight wherever the row wants it and cuts the lowest of its group, higher or not. In each group the
    pairs (highest grown, lowest cut), (next, next), ... are ours as long as they raise the metric."""
    metrics, before, ours, theirs = barber(golden, NM(), "output1", metric, threshold)
    expected = before.clone()
    lowering = 0
    for i, j in zip(*(theirs != before).reshape(96, 32, 4).any(dim=2).nonzero(as_tuple=True), strict=True):
        group = [(int(i), 4 * int(j) + k) for k in range(4)]
        grown = sorted((p for p in group if theirs[p] and not before[p]), key=lambda p: -metrics[p])
        cut = sorted((p for p in group if before[p] and not theirs[p]), key=lambda p: metrics[p])
        for grow, drop in zip(grown, cut, strict=True):
            if metrics[grow] > metrics[drop]:
                expected[grow], expected[drop] = True, False
            else:
                lowering += 1
    assert torch.equal(ours, expected)
    assert (lowering == 0) == torch.equal(ours, theirs)
    assert (lowering > 0) == (threshold == 1 or (threshold == 0.1 and metric != "D"))
