"""Reconstruction of a given mask, and the rounding that the column sweep can do on its way."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.figures import footprint
from core.methods.base import Pruned
from core.methods.rounding import fit_grid
from core.methods.sparsegpt import SparseGPT
from core.patterns import NM, Unstructured
from core.stages.reconstruction import Reconstruction
from core.statistics import InputStatistics

# H of inputs that belong together in pairs (0, 1) and (2, 3). With damping 0.2, 0.5 more on the diagonal, the inverse of
# [[2, -2], [-2, 4]] is [[1, 0.5], [0.5, 0.5]] = U'U with U = [[1, 0.5], [0, 0.5]]: an error e of the first weight of a pair
# takes e / 2 from the second.
PAIR = torch.tensor([[1.5, -2], [-2, 3.5]])
PAIRED = InputStatistics({"gram": torch.block_diag(PAIR, PAIR)})


def pruned(weight: torch.Tensor, keep: torch.Tensor) -> Pruned:
    return Pruned(weight * keep, keep)


def test_reconstruction_by_hand():
    # Row 1: -4 goes and gives -2; row 2: 2 goes and takes 1 from 5, the last weight has nothing to its right.
    weight = torch.tensor([[-4.0, 1, 3, 1], [2, 5, 3, 1]])
    keep = torch.tensor([[0, 1, 1, 1], [0, 1, 1, 0]]).bool()
    result = Reconstruction(damping=0.2).update(weight, pruned(weight, keep), PAIRED)
    torch.testing.assert_close(result.weight, torch.tensor([[0.0, 3, 3, 1], [0, 4, 3, 0]]), rtol=1e-5, atol=1e-5)
    assert torch.equal(result.keep, keep)


def test_rounding_on_the_way_by_hand():
    # Grid 0 1 2 3. 1.4 becomes 1, and the error 0.4 takes 0.2 from 2.6, which so becomes 2 and not 3; 3 goes, its error
    # takes 1.5 from 2.8: 1.3 becomes 1.
    weight = torch.tensor([[1.4, 2.6, 3, 2.8]])
    keep = torch.tensor([[1, 1, 0, 1]]).bool()
    result = Reconstruction(damping=0.2, bits=2).update(weight, pruned(weight, keep), PAIRED)
    torch.testing.assert_close(result.weight, torch.tensor([[1.0, 2, 0, 1]]))


@pytest.mark.parametrize(
    ("symmetric", "values", "rounded"),
    [
        # from -1 to 2 in three steps of 1: -1 0 1 2
        (False, [-3.0, -0.6, 0, 0.4, 1.6, 9], [-1.0, -1, 0, 0, 2, 2]),
        # from -2 to 2 in three steps of 4/3, of which two lie below 0: -8/3 -4/3 0 4/3
        (True, [-3.0, -1.5, -0.6, 0.6, 0.7, 9], [-8 / 3, -4 / 3, 0, 0, 4 / 3, 4 / 3]),
    ],
)
def test_the_grid_of_a_row_by_hand(symmetric, values, rounded):
    grid = fit_grid(torch.tensor([[-1.0, 0.5, 2]]), 2, symmetric)
    assert [float(grid.round(torch.tensor([float(value)]))) for value in values] == pytest.approx(rounded)


def slow_grid(row: np.ndarray, bits: int, symmetric: bool) -> list[float]:
    """The values a row may take."""
    low, high = min(*row, 0), max(*row, 0)
    if symmetric:
        high = max(-low, high)
        low = -high
    scale = (high - low) / (2**bits - 1) if high > low else 1 / (2**bits - 1)
    zero = 2 ** (bits - 1) if symmetric else round(-low / scale)
    return [scale * (q - zero) for q in range(2**bits)]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_rounding_is_to_the_nearest_value_of_each_rows_grid(bits, symmetric):
    generator = torch.Generator().manual_seed(bits)
    weight = torch.randn(6, 30, generator=generator) + torch.tensor([[-9.0], [0], [0], [9], [0.1], [0]])
    weight[5] = 0
    grid = fit_grid(weight, bits, symmetric)
    for j in range(30):
        ours = grid.round(weight[:, j])
        for i in range(6):
            values = slow_grid(weight[i].double().numpy(), bits, symmetric)
            distances = {value: abs(value - float(weight[i, j])) for value in values}
            taken = min(values, key=lambda value: abs(value - float(ours[i])))
            assert float(ours[i]) == pytest.approx(taken, rel=1e-5, abs=1e-6)
            assert distances[taken] == pytest.approx(min(distances.values()), abs=1e-5), "of two as near, either"


def slow_sweep(weight, gram, keep, damping=0.01, bits=None, bits_group=None, symmetric=False):
    """Every weight of a row set to its target (0, or a value of its grid) one after the other, the others updated by the
    inverse of H over the inputs that remain (SparseGPT, equation 3), which is computed anew for each."""
    w = weight.double().numpy().copy()
    rows, columns = w.shape
    damped = gram.double().numpy() + damping * float(gram.diagonal().mean()) * np.eye(columns)
    for i in range(rows):
        values = slow_grid(w[i], bits, symmetric) if bits else []
        for j in range(columns):
            if bits_group and j % bits_group == 0:
                values = slow_grid(w[i, j : j + bits_group], bits, symmetric)
            inverse = np.linalg.inv(damped[j:, j:])
            target = 0.0 if not keep[i, j] else w[i, j]
            if bits:
                target = min(values, key=lambda value: abs(value - target))
            w[i, j:] -= (w[i, j] - target) / inverse[0, 0] * inverse[0]
            w[i, j] = target
    return torch.from_numpy(w)


def random_layer(rows: int, columns: int) -> tuple[torch.Tensor, InputStatistics, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows + columns)
    x = torch.randn(3 * columns, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    weight = torch.randn(rows, columns, generator=generator)
    return weight, InputStatistics({"gram": x.T @ x}), torch.rand(rows, columns, generator=generator) < 0.5


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"blocksize": 5, "damping": 0.1},
        {"bits": 3},
        {"bits": 4, "symmetric": True, "blocksize": 7},
        {"bits": 3, "bits_group": 8},
        {"bits": 2, "bits_group": 8, "symmetric": True, "blocksize": 12},  # blocks become 8 wide
        {"bits": 3, "bits_group": 16},  # the last group holds four columns
    ],
)
def test_reconstruction_equals_its_update_written_slowly(options):
    weight, stats, keep = random_layer(5, 20)
    result = Reconstruction(**options).update(weight, pruned(weight, keep), stats)
    slow = {name: value for name, value in options.items() if name != "blocksize"}
    torch.testing.assert_close(
        result.weight.double(), slow_sweep(weight, stats["gram"], keep, **slow), rtol=0, atol=1e-3
    )
    assert torch.equal(result.keep, keep)


@pytest.mark.parametrize("pattern", [Unstructured(group="layer"), NM()])
def test_sparsegpt_with_its_whole_mask_at_once_is_its_score_and_the_reconstruction(pattern):
    weight, stats, _ = random_layer(6, 24)
    inverse = torch.linalg.inv(stats["gram"].double() + 0.01 * stats["gram"].diagonal().mean() * torch.eye(24))
    # The saliency of column j is measured when only the columns from j on remain.
    left = torch.stack([torch.linalg.inv(torch.linalg.inv(inverse)[j:, j:])[0, 0] for j in range(24)])
    keep = pattern.keep((weight.double().square() / left).float(), 0.5)
    result = SparseGPT(selection="matrix").prune(weight, stats, pattern, 0.5)
    assert torch.equal(result.keep, keep)
    expected = Reconstruction().update(weight, pruned(weight, keep), stats)
    assert torch.equal(result.weight, expected.weight)
    on_the_way = SparseGPT(blocksize=8).prune(weight, stats, pattern, 0.5).keep
    assert not torch.equal(on_the_way, keep)


def test_reconstruction_zeroes_the_weights_of_dead_inputs():
    weight, stats, keep = random_layer(4, 8)
    gram = stats["gram"].clone()
    gram[2], gram[:, 2] = 0, 0
    result = Reconstruction().update(weight, pruned(weight, keep), InputStatistics({"gram": gram}))
    assert result.dead_inputs.nonzero().tolist() == [[2]]
    assert (result.weight[:, 2] == 0).all()


matrices = st.tuples(st.integers(1, 4), st.sampled_from([8, 12, 20])).flatmap(
    lambda shape: arrays("float32", shape, elements=st.integers(-20, 20).map(lambda k: k / 4))
)


@given(matrices, st.integers(2, 4), st.sampled_from([None, 8]), st.booleans(), st.integers(0, 99))
def test_rounded_weights_lie_on_few_values_and_zero_stays_zero(matrix, bits, bits_group, symmetric, seed):
    weight = torch.from_numpy(matrix)
    _, stats, keep = random_layer(20 + seed, weight.shape[1])
    keep = keep[: len(weight)]
    stage = Reconstruction(bits=bits, bits_group=bits_group, symmetric=symmetric, damping=0.1)
    result = stage.update(weight, pruned(weight, keep), stats).weight
    assert (result[~keep] == 0).all()
    for group in result.split(bits_group or weight.shape[1], dim=1):
        for row in group:
            values = torch.cat([row, torch.zeros(1)]).unique()  # 0 is one of them
            assert len(values) <= 2**bits
    for i in range(len(weight) if bits_group is None else 0):  # the grid of a group is fitted on the way
        for value in result[i].tolist():
            assert min(abs(value - other) for other in slow_grid(weight[i].numpy(), bits, symmetric)) < 1e-4


@pytest.mark.parametrize(
    ("options", "grid_bits"),
    [
        ({"bits": 4}, 5 * (16 + 4)),  # a scale and a zero point for each of five rows
        ({"bits": 4, "symmetric": True}, 5 * 16),
        ({"bits": 3, "bits_group": 8}, 5 * 3 * (16 + 3)),  # three groups a row
    ],
)
def test_the_bits_of_the_grids_by_hand(options, grid_bits):
    weight, stats, keep = random_layer(5, 20)
    result = Reconstruction(**options).update(weight, pruned(weight, keep), stats)
    assert result.report == {"bits": options["bits"], "grid_bits": grid_bits}
    assert Reconstruction().update(weight, pruned(weight, keep), stats).report == {}


def test_the_bytes_of_a_packed_model_by_hand():
    """5 × 20 at one half: 50 survivors of 4 bits, 100 bits of mask, and 5 rows with a scale (16 bits) and a zero point (4)
    each, which take their room however many weights survive."""
    weight, stats, _ = random_layer(5, 20)
    result = SparseGPT(bits=4).prune(weight, stats, Unstructured(group="output"), 0.5)
    table = pd.DataFrame([{"parameters": 100, "pruned": int((~result.keep).sum()), **result.report}])
    assert footprint(table, 2) == {
        "pruned": 50,
        "parameters": 100,
        "parameters_after": 100,
        "dense_bytes": 200,
        "bitmask_bytes": 100 + 13,
        "packed_bytes": math.ceil((50 * 4 + 5 * 20) / 8) + 13,
    }
