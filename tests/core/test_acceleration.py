"""2:4 acceleration: what can be said without a GPU."""

import pytest
import torch

from core.acceleration import accelerate, holds_two_of_four, why_not
from core.errors import InputError


@pytest.mark.parametrize(
    ("device", "capability", "words"),
    [("cpu", None, "is on cpu"), ("mps:0", None, "is on mps"), ("cuda:0", (7, 5), "this one has 7.5")],
)
def test_where_it_cannot_be_it_says_why(device, capability, words):
    reason = why_not(device, capability)
    assert reason is not None
    assert "compute capability 8.0" in reason
    assert words in reason


def test_where_it_can_be_nothing_stands_against_it():
    assert why_not("cuda:0", (8, 0)) is None
    assert why_not("cuda:1") is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU, so nothing is refused")
def test_a_model_on_the_cpu_is_refused_and_left_as_it_was():
    model = torch.nn.Linear(64, 64)
    before = model.weight
    with pytest.raises(InputError, match="is on cpu"):
        accelerate(model)
    assert model.weight is before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU with 2:4 kernels")
def test_an_accelerated_model_computes_the_same():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(128, 64, bias=False)).half().cuda()
    with torch.no_grad():
        model[0].weight.reshape(-1, 4)[:, :2] = 0
    x = torch.randn(64, 128).half().cuda()
    expected = model(x)
    assert accelerate(model) == ["0"]
    torch.testing.assert_close(model(x), expected, rtol=1e-2, atol=1e-2)


def test_two_of_four_is_seen():
    weight = torch.tensor([[1.0, 0, 0, 2, 0, 0, 0, 0], [0, 3, 4, 0, 0, 0, 5, 0]])
    assert holds_two_of_four(weight)
    weight[0, 1] = 1
    assert not holds_two_of_four(weight)
    assert not holds_two_of_four(torch.zeros(2, 6))
