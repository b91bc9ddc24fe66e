"""DSnoT: by hand, row by row as the paper tells it, and what always holds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core.config import RunConfig
from core.engine import prune_model
from core.errors import explain
from core.events import ModulePruned
from core.methods import Pruned
from core.patterns import NM, Unstructured
from core.stages.dsnot import DSnoT, Expected, refine_groups, refine_rows
from core.statistics import STATISTICS, InputStatistics

ROW = Unstructured(group="output")


def plain(weights: list[float]) -> Expected:
    """Of a row whose inputs all have sum, variance and norm 1."""
    row = torch.tensor([weights])
    return Expected(row, row, row.abs())


@pytest.mark.parametrize(
    ("cycles", "threshold", "overshoot", "expected", "error"),
    [
        # 2 and -1 are pruned: error 1. 2 returns for -0.5: -1.5. Then -1 returns for 1: 0.5, and nothing is left to return.
        (50, 0.1, True, [0, 1, 0, 1, 1], 0.5),
        (1, 0.1, True, [1, 1, 0, 1, 0], -1.5),
        (50, 0.1, False, [1, 0, 1, 1, 0], 1.0),  # the first exchange would change the sign
        (50, 1.0, True, [1, 0, 1, 1, 0], 1.0),  # not above the threshold
        (50, 0.99, True, [0, 1, 0, 1, 1], 0.5),
    ],
)
def test_a_row_by_hand(cycles, threshold, overshoot, expected, error):
    keep = torch.tensor([[1, 0, 1, 1, 0]]).bool()
    found = refine_rows(plain([1.0, 2, -0.5, 3, -1]), keep, cycles, threshold, overshoot)
    assert found.keep.int().tolist() == [expected]
    assert (found.before.tolist(), found.after.tolist()) == ([1.0], [error])


def test_groups_by_hand():
    """2:4. 1, 2 and 0.5, 0.2 are pruned: error 3.7. 2 returns for 3, the lowest of its group: 4.7. Then 1 would return for
    -4: -0.3, another sign."""
    keep = torch.tensor([[1, 0, 0, 1, 0, 1, 1, 0]]).bool()
    found = refine_groups(plain([3.0, 1, 2, -4, 0.5, 5, -2, 0.2]), keep, 50, 0.1, 4)
    assert found.keep.int().tolist() == [[0, 0, 1, 1, 0, 1, 1, 0]]
    assert found.after.tolist() == pytest.approx([4.7])


def test_the_variance_of_an_input_speaks_against_it():
    """Of two pruned weights of the error's sign, the one with the quieter input returns; one that never varies comes first."""
    stats = InputStatistics(
        {name: torch.ones(4) for name in ("norm", "total")} | {"variance": torch.tensor([4.0, 1, 1, 0])}
    )
    dense, keep = torch.tensor([[3.0, 2, -1, 0.5]]), torch.tensor([[0, 0, 1, 0]]).bool()
    cases = [(1.0, [0, 0, 0, 1]), (0.0, [1, 0, 0, 0])]
    for power, expected in cases:
        stage = DSnoT(power=power, cycles=1)
        found = stage.refine_mask(dense, Pruned(dense * keep, keep), stats, ROW, None)
        assert found.keep.int().tolist() == [expected]
        assert found.weight.tolist() == (dense * found.keep).tolist()


def slow(dense, keep, stats, power, cycles, threshold, overshoot, m=None):
    """One row after the other, in Python's floats, as section 3 and the program tell it."""
    new = keep.clone()
    for i, row in enumerate(dense.double().tolist()):
        total, variance, norm = (stats[name].double().tolist() for name in ("total", "variance", "norm"))
        effect = [w * s for w, s in zip(row, total, strict=True)]
        pruned = [j for j in range(len(row)) if not keep[i, j]]
        kept = [j for j in range(len(row)) if keep[i, j]]
        error = sum(effect[j] for j in pruned)
        first = error
        for _ in range(cycles):
            if abs(error) <= threshold:
                break
            sign = 1 if error > 0 else -1
            growing = [j for j in pruned if effect[j] * sign > 0]
            if not growing:
                break
            grown = max(growing, key=lambda j: effect[j] * sign / variance[j] ** power)
            going = [j for j in kept if (effect[j] * sign < 0 if m is None else j // m == grown // m)]
            if not going:
                break
            cut = min(going, key=lambda j: abs(row[j]) * norm[j])
            after = error + effect[cut] - effect[grown]
            if not overshoot and after * first <= 0:
                break
            error = after
            new[i, grown], new[i, cut] = True, False
            pruned.remove(grown)
            kept.remove(cut)
    return new


def material(seed: int, rows: int = 12, columns: int = 24):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 30, columns, generator=generator) * torch.rand(columns, generator=generator) * 3
    x += torch.randn(columns, generator=generator)
    flat = x.flatten(0, 1)
    stats = InputStatistics(
        {"norm": (flat.square().sum(0) / 5).sqrt(), "total": flat.sum(0) / 5, "variance": flat.var(0, correction=0)}
    )
    return torch.randn(rows, columns, generator=generator), stats


@given(
    seed=st.integers(0, 10**6),
    pattern=st.sampled_from([ROW, Unstructured(group="layer"), NM(n=2, m=4), NM(n=4, m=8), NM(n=1, m=3)]),
    permute=st.booleans(),
    cycles=st.sampled_from([1, 3, 50]),
    threshold=st.sampled_from([0.0, 0.1, 5.0]),
    power=st.sampled_from([0.0, 1.0, 0.5]),
    overshoot=st.booleans(),
)
def test_it_is_the_slow_one_and_keeps_counts_and_pattern(seed, pattern, permute, cycles, threshold, power, overshoot):
    dense, stats = material(seed)
    order = torch.randperm(24, generator=torch.Generator().manual_seed(seed)) if permute else torch.arange(24)
    sparsity = pattern.sparsity or 0.5
    keep = torch.empty(12, 24, dtype=torch.bool)
    keep[:, order] = pattern.keep((dense.abs() * stats["norm"])[:, order], sparsity)
    stage = DSnoT(cycles=cycles, threshold=threshold, power=power, overshoot=overshoot)
    found = stage.refine_mask(dense, Pruned(dense * keep, keep), stats, pattern, order if permute else None)
    assert pattern.violation(found.keep[:, order], sparsity) is None
    assert torch.equal(found.keep.sum(1), keep.sum(1))
    assert torch.equal(found.weight, dense * found.keep)
    m = pattern.m if isinstance(pattern, NM) else None
    in_order = InputStatistics({name: stats[name][order] for name in ("norm", "total", "variance")})
    expected = slow(dense[:, order], keep[:, order], in_order, power, cycles, threshold, overshoot and m is None, m)
    assert torch.equal(found.keep[:, order], expected)
    assert found.report["exchanged"] == pytest.approx(float((expected & ~keep[:, order]).float().mean()))
    error = ((dense * stats["total"]) * ~found.keep).sum(1).abs().mean()
    assert found.report["expected_after"] == pytest.approx(float(error), rel=1e-3, abs=1e-4)


def test_without_overshooting_no_row_gets_worse():
    dense, stats = material(3, 200, 256)
    keep = ROW.keep(dense.abs() * stats["norm"], 0.5)
    found = refine_rows(Expected.of(dense, stats, 1.0), keep, 50, 0.1, overshoot=False)
    assert (found.after.abs() <= found.before.abs()).all()
    assert found.after.abs().mean() < 0.2 * found.before.abs().mean()


@pytest.mark.parametrize("split", [[150], [1, 149], [50, 30, 70]])
def test_sum_and_variance_whatever_the_chunks(split):
    x = torch.randn(150, 6, generator=torch.Generator().manual_seed(0)) + torch.tensor([0.0, 1, 1e3, -5, 0, 3])
    x[:, 4] = 7.0
    expected = {"total": x.double().sum(0) / 3, "variance": x.double().var(0, correction=0)}
    for name, value in expected.items():
        statistic = STATISTICS[name](6, 3, torch.device("cpu"))
        for chunk in x.split(split):
            statistic.update(chunk)
        torch.testing.assert_close(statistic.finish().double(), value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "sides"),
    [
        ({"pattern": {"pattern": "unstructured", "group": "input"}}, ["stage = dsnot", "pattern = Unstructured"]),
        ({"method": {"method": "sparsegpt", "bits": 4}}, ["stage = dsnot", "method = sparsegpt", "bits"]),
    ],
)
def test_what_it_does_not_go_with_is_refused(values, sides):
    with pytest.raises(ValidationError) as caught:
        RunConfig.model_validate({"stages": ["dsnot"], "sparsity": 0.5} | values)
    assert all(side in explain(caught.value) for side in sides)


@pytest.mark.parametrize(("modules", "refined"), [("*att*", 4), ("*", 7), ("*.mlp.*, *q_proj", 4)])
def test_only_chosen_modules_are_refined(tiny_model, tokens, modules, refined):
    config = RunConfig.model_validate(
        {
            "stages": [{"stage": "dsnot", "modules": modules}],
            "sparsity": 0.5,
            "calibration": {"windows": 4, "seqlen": 24},
        }
    )
    events = [
        e for e in prune_model(tiny_model("llama", num_hidden_layers=1), config, tokens) if isinstance(e, ModulePruned)
    ]
    assert sum("exchanged" in event.report for event in events) == refined
    assert all(("exchanged" in event.report) == DSnoT(modules=modules).chooses(event.module) for event in events)
    assert DSnoT().modules == "*att*", "as the authors' program"
