import pytest
import torch
from torch import nn

from core.statistics import STATISTICS, Collector, InputStatistics, Statistic
from core.statistics.sample import SAMPLE_TOKENS

NEEDS = {"norm", "gram", "sample"}


class Attention(nn.Module):
    """q, k and v read one tensor, o another, and the values of ``view`` arrive as an equal copy."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v, self.o, self.copy = (nn.Linear(8, 8) for _ in range(5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.o(self.q(x) + self.k(x) * self.v(x)) + self.copy(x.clone())


@pytest.fixture
def block() -> Attention:
    return Attention()


@pytest.fixture
def inputs() -> torch.Tensor:
    """Six sequences of 50 tokens."""
    return torch.randn(6, 50, 8, generator=torch.Generator().manual_seed(1))


def modules_of(block: nn.Module) -> dict[str, nn.Module]:
    return dict(block.named_children())


def collect(block: nn.Module, inputs: torch.Tensor, batch_size: int, needs=NEEDS) -> dict[str, InputStatistics]:
    with torch.no_grad(), Collector(modules_of(block), needs, len(inputs)) as collector:
        for batch in inputs.split(batch_size):
            collector.next_batch()
            block(batch)
    return collector.finish()


def hooks_of(block: nn.Module) -> int:
    return sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in block.modules())


def test_by_hand():
    """Two sequences; X = [[1, 2], [3, 0]] and [[0, 2], [0, -4]]."""
    chunks = torch.tensor([[1.0, 2], [3, 0]]), torch.tensor([[0.0, 2], [0, -4]])
    expected = {
        "norm": torch.tensor([5.0, 12.0]).sqrt(),  # 10 / 2 and 24 / 2
        "gram": torch.tensor([[10.0, 2], [2, 24]]),  # X'X * 2 / 2
        "sample": torch.cat(chunks),
    }
    for name, value in expected.items():
        statistic = STATISTICS[name](2, 2, torch.device("cpu"))
        for chunk in chunks:
            statistic.update(chunk)
        torch.testing.assert_close(statistic.finish(), value, rtol=1e-6, atol=0)


def test_equal_their_definitions_in_float64(block, inputs):
    stats = collect(block, inputs, 2)["q"]
    x = inputs.reshape(-1, 8).double()
    torch.testing.assert_close(stats["norm"].double(), (x.square().sum(0) / 6).sqrt(), rtol=1e-6, atol=0)
    torch.testing.assert_close(stats["gram"].double(), 2 / 6 * x.T @ x, rtol=1e-5, atol=1e-5)
    assert torch.equal(stats["sample"], inputs.reshape(-1, 8)[:64])


def test_the_input_of_a_later_module_is_what_the_block_computes(block, inputs):
    with torch.no_grad():
        x = (block.q(inputs) + block.k(inputs) * block.v(inputs)).reshape(-1, 8)
    stats = collect(block, inputs, 3)["o"]
    torch.testing.assert_close(stats["norm"], (x.square().sum(0) / 6).sqrt(), rtol=1e-5, atol=0)
    torch.testing.assert_close(stats["sample"], x[:64], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_batch_size_changes_nothing(block, inputs, name):
    whole = collect(block, inputs, 6)
    for batch_size in (1, 4, 5):
        for module, stats in collect(block, inputs, batch_size).items():
            torch.testing.assert_close(stats[name], whole[module][name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 6])
def test_the_sample_is_the_first_64_tokens(inputs, batch_size):
    """50 does not divide 64: the sample ends inside the second sequence."""
    block = nn.Sequential(nn.Linear(8, 8))
    sample = collect(block, inputs, batch_size, {"sample"})["0"]["sample"]
    assert SAMPLE_TOKENS == 64
    assert torch.equal(sample, inputs.reshape(300, 8)[:64])


def test_a_short_text_is_all_sample(block, inputs):
    assert collect(block, inputs[:1], 1, {"sample"})["q"]["sample"].shape == (50, 8)


def test_the_sample_keeps_what_was_read_when_the_tensor_is_overwritten(inputs):
    layer = nn.Sequential(nn.Linear(8, 8))
    given = inputs[:1].clone()
    with torch.no_grad(), Collector(modules_of(layer), {"sample"}, 1) as collector:
        collector.next_batch()
        layer(given)
        given.zero_()
    assert torch.equal(collector.finish()["0"]["sample"], inputs[0])


def test_modules_that_read_one_tensor_share_one_object(block, inputs):
    stats = collect(block, inputs, 2)
    assert stats["q"] is stats["k"] is stats["v"]
    assert len({id(s) for s in stats.values()}) == 3  # q = k = v, o, copy
    assert torch.equal(stats["copy"]["norm"], stats["q"]["norm"])


def test_only_what_is_needed_is_collected(block, inputs):
    stats = collect(block, inputs, 2, {"norm"})["q"]
    assert "norm" in stats
    assert "gram" not in stats
    with pytest.raises(
        KeyError, match=r"'gram' was not collected; add it to the method's needs \(collected: \['norm'\]\)"
    ):
        stats["gram"]


def test_low_precision_inputs_are_summed_in_float32(inputs):
    layer = nn.Sequential(nn.Linear(8, 8)).to(torch.bfloat16)
    x = inputs.bfloat16()
    stats = collect(layer, x, 2)["0"]
    assert {stats[name].dtype for name in NEEDS} == {torch.float32}
    exact = x.double().reshape(-1, 8).square().sum(0) / 6
    torch.testing.assert_close(stats["norm"].double(), exact.sqrt(), rtol=1e-5, atol=0)


def test_hooks_are_gone_afterwards(block, inputs):
    collect(block, inputs, 2)
    assert hooks_of(block) == 0


def test_hooks_are_gone_after_an_exception(block, inputs):
    block.o.register_forward_hook(lambda *_: 1 / 0)
    before = hooks_of(block)
    with pytest.raises(ZeroDivisionError):
        collect(block, inputs, 2)
    assert hooks_of(block) == before


def test_a_module_that_read_nothing_is_named(block, inputs):
    with Collector(modules_of(block), {"norm"}, 6) as collector:
        collector.next_batch()
        block.q(inputs)
    with pytest.raises(RuntimeError, match="copy read no calibration token"):
        collector.finish()


def test_sharing_that_changes_between_batches_is_an_error(block, inputs):
    with Collector(modules_of(block), {"norm"}, 6) as collector:
        collector.next_batch()
        block.q(inputs), block.k(inputs)
        collector.next_batch()
        block.q(inputs)
        with pytest.raises(RuntimeError, match="k shared its input with q in one batch, not in another"):
            block.k(inputs.clone())


def test_what_follows_from_statistics_is_computed_once():
    stats, calls = InputStatistics({}), []
    for _ in range(2):
        value = stats.derived("a", lambda: calls.append(1) or torch.ones(2))
    assert (len(calls), value.tolist()) == (1, [1, 1])
    assert stats.derived("b", lambda: torch.zeros(2)).tolist() == [0, 0]


def test_a_users_statistic_is_one_class(block, inputs, monkeypatch):
    monkeypatch.setattr(STATISTICS, "_classes", dict(STATISTICS._classes))

    class Largest(Statistic):
        name = "largest"

        def __init__(self, in_features, sequences, device):
            super().__init__(in_features, sequences, device)
            self.value = torch.zeros(in_features)

        def update(self, x):
            self.value = torch.maximum(self.value, x.abs().amax(0))

        def finish(self):
            return self.value

    stats = collect(block, inputs, 4, {"largest"})
    assert torch.equal(stats["q"]["largest"], inputs.abs().amax((0, 1)))
