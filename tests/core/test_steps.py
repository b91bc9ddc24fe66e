"""The steps that the Learn page shows are those of the real solvers, one at a time."""

import itertools

import numpy as np
import pytest
import torch

from core.methods.column_steps import column_steps
from core.methods.sparsegpt import SparseGPT
from core.patterns import NM, Unstructured
from core.stages.barber import comparison_groups, rebuild
from core.stages.barber_steps import swap_pairs, swapped
from tests.core.test_methods import random_layer, statistics_of

PATTERNS = [(Unstructured(group="output"), 0.5), (Unstructured(group="layer"), 0.37), (NM(), 0.5)]
METHODS = [
    SparseGPT(),
    SparseGPT(blocksize=4),
    SparseGPT(blocksize=5, damping=0.1),
    SparseGPT(selection="matrix"),
    SparseGPT(bits=3),
]


def damped(gram: torch.Tensor, damping: float) -> np.ndarray:
    return (gram + damping * gram.diagonal().mean() * torch.eye(len(gram))).double().numpy()


@pytest.mark.parametrize(("pattern", "sparsity"), PATTERNS, ids=lambda value: getattr(value, "label", value))
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.described)
def test_the_last_column_leaves_what_the_solver_returns(method, pattern, sparsity):
    weight, inputs = random_layer(6, 12)
    stats = statistics_of(*inputs)
    steps, pruned = column_steps(method, weight, stats, pattern, sparsity)
    real = method.prune(weight, stats, pattern, sparsity)
    torch.testing.assert_close(pruned.weight, real.weight, rtol=1e-5, atol=1e-6)  # the compiled loop adds up otherwise
    assert torch.equal(pruned.keep, real.keep)
    assert [step.column for step in steps] == list(range(12))
    assert torch.equal(steps[-1].weight, pruned.weight)
    assert torch.equal(steps[-1].keep, real.keep)


@pytest.mark.parametrize(("pattern", "sparsity"), PATTERNS, ids=lambda value: getattr(value, "label", value))
def test_every_step_leaves_the_best_completion(pattern, sparsity):
    """With the columns so far fixed, those to the right are what least squares makes of them; by NumPy, in float64."""
    weight, inputs = random_layer(5, 12, seed=1)
    stats = statistics_of(*inputs)
    hessian = damped(stats["gram"], 0.01)
    dense = weight.double().numpy()
    for step in column_steps(SparseGPT(), weight, stats, pattern, sparsity)[0]:
        fixed, free = slice(step.column + 1), slice(step.column + 1, None)
        done = step.weight.double().numpy()
        change = np.linalg.solve(hessian[free, free], hessian[free, fixed] @ (dense - done)[:, fixed].T).T
        np.testing.assert_allclose(done[:, free], dense[:, free] + change, rtol=2e-4, atol=2e-4)


def test_squared_errors_add_up_to_the_error_of_the_output():
    weight, inputs = random_layer(5, 12, seed=2)
    stats = statistics_of(*inputs)
    hessian = damped(stats["gram"], 0.01)
    paid = np.zeros(5)
    for step in column_steps(SparseGPT(), weight, stats, NM(), 0.5)[0]:
        paid += step.error.double().numpy() ** 2
        change = (weight - step.weight).double().numpy()
        np.testing.assert_allclose(np.einsum("ij,jk,ik->i", change, hessian, change), paid, rtol=1e-3)


@pytest.mark.parametrize("blocksize", [128, 4])
def test_what_is_passed_on_is_what_changed_to_the_right(blocksize):
    weight, inputs = random_layer(5, 12, seed=3)
    method = SparseGPT(blocksize=blocksize, selection="matrix")
    steps, _ = column_steps(method, weight, statistics_of(*inputs), NM(), 0.5)
    total = torch.zeros_like(weight)
    for step in steps:
        assert not step.passed_on[:, : step.column + 1].any()
        total += step.passed_on
        right = slice(step.column + 1, None)
        torch.testing.assert_close(step.weight[:, right], (weight + total)[:, right])
        beyond = slice((step.column // 4 + 1) * 4, None)
        waits = blocksize == 4 and step.column % 4 != 3
        assert step.passed_on[:, beyond].any() == (not waits and step.column < 8)


def test_uncorrelated_inputs_pass_nothing_on():
    weight = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    steps, pruned = column_steps(SparseGPT(), weight, statistics_of(torch.eye(8) * torch.arange(1.0, 9)), NM(), 0.5)
    assert all(step.passed_on.abs().max() < 1e-6 for step in steps)
    torch.testing.assert_close(pruned.weight, weight * pruned.keep)


def test_the_weight_given_is_left_as_it_is():
    weight, inputs = random_layer(4, 8)
    before = weight.clone()
    column_steps(SparseGPT(), weight, statistics_of(*inputs), NM(), 0.5)
    assert torch.equal(weight, before)


def block(seed: int) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"up": (6, 4), "down": (4, 6)}
    metrics = {name: torch.randn(shape, generator=generator).square() for name, shape in shapes.items()}
    return metrics, {name: torch.rand(shape, generator=generator) < 0.6 for name, shape in shapes.items()}


@pytest.mark.parametrize("granularity", ["block", "layer", "output1", "input1"])
@pytest.mark.parametrize(("seed", "threshold"), [*itertools.product(range(3), (0.0, 0.3, 1.0))])
def test_the_swaps_one_after_the_other_make_the_stages_mask(granularity, seed, threshold):
    metrics, keeps = block(seed)
    now = keeps
    for pair in swap_pairs(metrics, keeps, granularity, threshold):
        assert not keeps[pair.grow.module][pair.grow.row, pair.grow.column]
        assert keeps[pair.cut.module][pair.cut.row, pair.cut.column]
        assert pair.grow_metric == metrics[pair.grow.module][pair.grow.row, pair.grow.column]
        assert pair.cut_metric == metrics[pair.cut.module][pair.cut.row, pair.cut.column]
        assert pair.mismatched or not pair.swapped
        if pair.swapped:
            now = swapped(now, pair)
    real = rebuild(metrics, keeps, granularity, threshold, Unstructured(), dict.fromkeys(keeps))
    assert all(torch.equal(now[name], real[name]) for name in keeps)


def test_pairs_by_hand():
    """Pruned 9 and 2, kept 3 and 4: 9 over 3 is mismatched, 2 over 4 is not."""
    metrics, keeps = {"a": torch.tensor([[3.0, 9, 4, 2]])}, {"a": torch.tensor([[True, False, True, False]])}
    first, second = swap_pairs(metrics, keeps, "layer", 1.0)
    assert (first.grow, first.cut, first.grow_metric, first.cut_metric) == (("a", 0, 1), ("a", 0, 0), 9.0, 3.0)
    assert first.mismatched
    assert first.swapped
    assert (second.grow_metric, second.cut_metric) == (2.0, 4.0)
    assert not second.mismatched
    assert not second.swapped


def test_comparison_groups_hold_every_weight_once():
    numbered = {"up": torch.arange(24).reshape(6, 4), "down": torch.arange(24, 48).reshape(4, 6)}
    for granularity, rows in (("block", [1]), ("layer", [1, 1]), ("output1", [6, 4]), ("input1", [4, 6])):
        groups = comparison_groups(numbered, granularity)
        assert [len(group) for group in groups.values()] == rows
        assert sorted(torch.cat([group.flatten() for group in groups.values()]).tolist()) == list(range(48))
