"""The dense model that a process keeps between runs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from core.config import RunConfig, identify
from core.execution import drain, execute
from core.models.dense import DenseModels
from core.models.sources import LoadedModel, LocalFolder, ModelSource
from core.store import Store

Configs = Callable[..., RunConfig]


@pytest.fixture(autouse=True)
def nothing_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever classes other tests of this process define; ``test_reuse`` has what plugins may do."""
    monkeypatch.setattr("core.models.dense._outside", lambda: False)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[ModelSource]:
    """The sources that are read from disk."""
    read: list[ModelSource] = []
    load = ModelSource.load

    def counted(source: ModelSource) -> LoadedModel:
        read.append(source)
        return load(source)

    monkeypatch.setattr(ModelSource, "load", counted)
    return read


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict(keep_vars=False).items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


RUNS: dict[str, dict[str, Any]] = {
    "magnitude": {},
    "sparsegpt": {"method": "sparsegpt", "pattern": "2:4"},
    "barber": {"method": "wanda", "stages": ("barber",)},
    "low_rank": {"stages": ("low_rank",)},
    "lsa": {"pattern": "2:4", "stages": ({"stage": "reallocation", "lsa": True}, "reconstruction")},
    "sensitivity": {"allocation": "sensitivity"},
}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_no_run_leaves_a_trace_in_the_next_ones_model(
    family: str, config: Configs, tiny_folder: Callable[..., Path], store: Store, reads: list[ModelSource]
) -> None:
    """GPT-2 keeps its weights transposed, and its head is tied to the embeddings."""
    base = config(model=tiny_folder(family)).model_dump()
    expected = weights(LocalFolder(path=str(tiny_folder(family))).load().model)
    models = DenseModels()
    for name, changes in RUNS.items():
        wanted = RunConfig.model_validate(base | changes)
        steps = execute(wanted, identify(wanted), store, models.load)
        pruned = drain(steps, lambda event: None).loaded.model
        assert not same(weights(pruned), expected), name
        again = models.load(wanted.model).model
        assert same(weights(again), expected), name
        assert again.get_output_embeddings().weight is not pruned.get_output_embeddings().weight
    assert len(reads) == 2  # the expected one, and once for all runs


def test_what_is_handed_out_shares_its_matrices_only(
    tiny_folder: Callable[..., Path], reads: list[ModelSource]
) -> None:
    models, source = DenseModels(), LocalFolder(path=str(tiny_folder("gpt2")))
    first, second = models.load(source).model, models.load(source).model
    assert len(reads) == 1
    pairs = list(zip(first.named_parameters(), second.named_parameters(), strict=True))
    assert len(pairs) > 10
    for (name, one), (_, other) in pairs:
        assert one is not other, name
        assert (one.data_ptr() == other.data_ptr()) == (one.dim() > 1), name
    embeddings = second.get_input_embeddings()
    assert embeddings.weight is second.get_output_embeddings().weight  # tied, as in the model that was read
    with torch.no_grad():
        tokens = torch.tensor([[1, 2, 3]])
        assert torch.equal(first(tokens).logits, second(tokens).logits)


def test_another_model_takes_its_place_and_a_changed_folder_is_read_anew(
    tiny_folder: Callable[..., Path], own_folder: Path, reads: list[ModelSource], tmp_path: Path
) -> None:
    models, own = DenseModels(), LocalFolder(path=str(own_folder))
    other = LocalFolder(path=str(tiny_folder("gpt2")))
    for source in (own, own, other, other, own):
        models.load(source)
    assert reads == [own, other, own]
    before = weights(models.load(own).model)
    shutil.rmtree(own_folder)
    changed = tiny_folder("llama")
    shutil.copytree(changed, own_folder)
    file = own_folder / "config.json"
    file.write_text(file.read_text() + "\n")
    assert same(weights(models.load(own).model), before)
    assert reads == [own, other, own, own]


def test_where_memory_has_no_room_for_two_nothing_is_kept(
    tiny_folder: Callable[..., Path], reads: list[ModelSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(p.numel() * p.element_size() for p in LocalFolder(path=str(tiny_folder())).load().model.parameters())
    reads.clear()
    models, source = DenseModels(), LocalFolder(path=str(tiny_folder()))
    for free, read in ((1.9 * size, 2), (2.1 * size, 1)):
        reads.clear()
        monkeypatch.setattr(psutil, "virtual_memory", lambda free=free: SimpleNamespace(available=free))
        models.load(source)
        models.load(source)
        assert len(reads) == read


def test_a_model_that_was_written_into_is_read_again(
    tiny_folder: Callable[..., Path], reads: list[ModelSource]
) -> None:
    """As a method from outside may do that changes the weight it is given in place."""
    models, source = DenseModels(), LocalFolder(path=str(tiny_folder()))
    expected = weights(source.load().model)
    reads.clear()
    for _ in range(2):
        given = models.load(source).model
        assert same(weights(given), expected)
    assert len(reads) == 1
    matrix = next(parameter for parameter in given.parameters() if parameter.dim() > 1)
    matrix.detach().mul_(2)
    assert same(weights(models.load(source).model), expected)
    assert len(reads) == 2
