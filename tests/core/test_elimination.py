"""The sweep's inner loop, compiled and as other devices run it, against the paper's, one weight at a time in float64."""

import numpy as np
import pytest
import torch

from core.errors import InputError
from core.methods.column_sweep import LowestOfEach, inverse_factor, sweep
from core.methods.elimination import _LANES


@pytest.fixture(params=["compiled", "in PyTorch"], autouse=True)
def both_ways(request, monkeypatch):
    if request.param != "compiled":
        monkeypatch.setattr("core.methods.column_sweep.runs_compiled", lambda tensor: False)


def by_hand(weight: np.ndarray, factor: np.ndarray, keep: np.ndarray | None, drop: int, m: int):
    """SparseGPT, algorithm 1, without its blocks: every error goes to all columns on the right at once."""
    weight, kept = weight.astype(np.float64).copy(), np.ones(weight.shape, dtype=bool)
    for row in range(len(weight)):
        for j in range(weight.shape[1]):
            if keep is None and j % m == 0:
                saliency = [(weight[row, j + i] / factor[j + i, j + i]) ** 2 for i in range(m)]
                for i in sorted(range(m), key=lambda i: (saliency[i], i))[:drop]:
                    kept[row, j + i] = False
            elif keep is not None:
                kept[row, j] = keep[row, j]
            if not kept[row, j]:
                weight[row, j:] -= weight[row, j] / factor[j, j] * factor[j, j:]
    return weight * kept, kept


def layer(out: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(out * 1000 + columns)
    x = torch.randn(300, columns, generator=generator) + torch.randn(300, 1, generator=generator)
    return torch.randn(out, columns, generator=generator), inverse_factor(2 / 3 * x.T @ x, 0.01)


@pytest.mark.parametrize("out", [1, _LANES - 1, _LANES + 3])
@pytest.mark.parametrize("blocksize", [16, 128])
def test_a_given_mask(out, blocksize):
    weight, factor = layer(out, 40)
    keep = torch.rand(out, 40, generator=torch.Generator().manual_seed(1)) < 0.5
    updated, kept = sweep(weight, factor, lambda start, s: keep[:, start : start + s.shape[1]], blocksize)
    expected, _ = by_hand(weight.numpy(), factor.double().numpy(), keep.numpy(), 0, 1)
    assert torch.equal(kept, keep)
    np.testing.assert_allclose(updated.numpy(), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("out", [1, _LANES + 3])
@pytest.mark.parametrize(("drop", "m"), [(2, 4), (1, 2), (5, 8)])
def test_the_lowest_of_each(out, drop, m):
    weight, factor = layer(out, 40)
    updated, keep = sweep(weight, factor, LowestOfEach(drop, m), 16, m)
    expected, kept = by_hand(weight.numpy(), factor.double().numpy(), None, drop, m)
    np.testing.assert_array_equal(keep.numpy(), kept)
    np.testing.assert_allclose(updated.numpy(), expected, rtol=0, atol=2e-5)


def test_ties_go_to_the_first():
    updated, keep = sweep(torch.ones(3, 8), torch.eye(8), LowestOfEach(2, 4), 128, 4)
    assert keep.tolist() == [[False, False, True, True] * 2] * 3
    assert torch.equal(updated, keep.float())


def test_a_nan_weight_is_refused():
    weight = torch.ones(3, 8)
    weight[1, 6] = torch.nan
    with pytest.raises(InputError, match="NaN"):
        sweep(weight, torch.eye(8), LowestOfEach(2, 4), 128, 4)


def test_the_factor_of_a_large_matrix_is_lapacks():
    """Large enough to be halved three times, with an odd size on the way."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2000, 901, generator=generator)
    gram = x.T @ x / 100
    damped = gram.double() + 0.01 * gram.double().diagonal().mean() * torch.eye(901)
    expected = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    torch.testing.assert_close(inverse_factor(gram, 0.01).double(), expected, rtol=1e-4, atol=1e-6)


def test_a_large_singular_matrix_is_refused():
    x = torch.randn(20, 500, generator=torch.Generator().manual_seed(4))
    with pytest.raises(torch.linalg.LinAlgError):
        inverse_factor(x.T @ x, -1e-3)
