"""Runs that share a worker's kept model: each gets the dense one bit for bit, and does what it does in a fresh process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from transformers import PreTrainedModel

from core.allocation import Allocation
from core.config import RunConfig, identify
from core.errors import Cancelled
from core.events import BlockFinished, BlockStarted, Event, ModuleEvent, ModulePruned
from core.methods import Method
from core.methods.magnitude import Magnitude
from core.models import dense
from core.models.dense import DenseModels
from core.models.factors import FactoredLinear
from core.models.sources import LocalFolder
from core.settings import Settings
from core.stages import Stage
from core.store import Run, Store
from core.worker import run_attempt
from tests.runs.peer import ROOT

really_outside = dense._outside
Configs = Callable[..., RunConfig]
Folders = Callable[..., Path]
Changes = dict[str, Any]


def anatomy(model: PreTrainedModel) -> dict[str, Any]:
    """All that tells two models apart: modules and their marks, every parameter and buffer as bytes, config."""
    told: dict[str, Any] = {"config": model.config.to_dict(), "generation": model.generation_config.to_dict()}
    for name, module in model.named_modules():
        hooks = len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        told[f"module {name}"] = type(module), module.training, hooks, "forward" in module.__dict__
    for name, parameter in model.named_parameters(remove_duplicate=False):
        told[f"parameter {name}"] = type(parameter), parameter.requires_grad, parameter.grad, *contents(parameter)
    for name, buffer in model.named_buffers(remove_duplicate=False):  # those that a state_dict leaves out, too
        told[f"buffer {name}"] = contents(buffer)
    head, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    told["tied"] = head.weight is embeddings.weight
    return told


def contents(tensor: torch.Tensor) -> tuple[Any, ...]:
    whole = tensor.detach().contiguous().reshape(-1)
    return tensor.dtype, tensor.shape, tensor.stride(), tensor.device, whole.view(torch.uint8).numpy().tobytes()


def differing(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    return sorted(key for key in a.keys() | b.keys() if key not in a or key not in b or a[key] != b[key])


def with_changes(config: RunConfig, changes: Changes) -> RunConfig:
    return RunConfig.model_validate(config.model_dump() | changes)


def in_worker(
    wanted: RunConfig, store: Store, models: DenseModels, report: Callable[[Event], None] | None = None
) -> Run:
    """As a worker process does it."""
    attempt, new = store.submit(wanted, identify(wanted))
    assert new
    run_attempt(store, attempt.id, models.load, report)
    return store.run(attempt.run_id)


class Scribbler(Magnitude):
    """Prunes by magnitude, and writes what it gives into what it was given, past torch's version counters."""

    name: ClassVar[str] = "scribbler"

    def prune(self, weight: Any, stats: Any, pattern: Any, sparsity: float) -> Any:
        pruned = super().prune(weight, stats, pattern, sparsity)
        weight.numpy()[:] = pruned.weight.numpy()
        return pruned


class Crasher(Magnitude):
    """Fails in the second block, with its hands in the weights if it is told so."""

    name: ClassVar[str] = "crasher"
    calls: ClassVar[list[int]] = []
    writes: ClassVar[bool] = True

    def prune(self, weight: Any, stats: Any, pattern: Any, sparsity: float) -> Any:
        self.calls.append(1)
        if len(self.calls) > 9:
            if self.writes:
                weight.data.mul_(0)
            raise ZeroDivisionError
        return super().prune(weight, stats, pattern, sparsity)


@pytest.fixture(autouse=True)
def only_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """This file's methods are from outside; most tests are about what happens where there are none."""
    monkeypatch.setattr(dense, "_outside", lambda: False)


@pytest.fixture
def plugins(clean_registries: None, only_core: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "_outside", really_outside)
    for method in (Scribbler, Crasher):
        Method.registry.add(method.name, method)
    Crasher.calls.clear()


for registered in (Scribbler, Crasher):  # by being defined; each test says itself whether it wants them
    Method.registry._classes.pop(registered.name)


# Nothing is left behind -----------------------------------------------------------------------------------------------

CORE_RUNS: dict[str, Changes] = {
    **{f"method {cls.name}": {"method": cls.name} for cls in Method.registry.classes()},
    **{
        f"allocation {cls.name}": {"allocation": cls.name, "method": "wanda"}
        for cls in Allocation.registry.classes()
        if cls.name != "manual"  # needs each block's number; it only copies them
    },
    **{f"stage {cls.name}": {"stages": (cls.name,), "method": "wanda"} for cls in Stage.registry.classes()},
    "stage reallocation": {"stages": ("reallocation",), "pattern": "2:4", "method": "ria"},
    "lsa": {"stages": ({"stage": "reallocation", "lsa": True}, "reconstruction"), "pattern": "2:4", "method": "ria"},
    "factors of all": {"stages": ({"stage": "low_rank", "modules": "*"},)},
}


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_nothing_in_core_writes_into_a_shared_matrix(
    family: str, config: Configs, tiny_folder: Folders, store: Store
) -> None:
    """On which it rests that checksums are taken only where there is code from outside; by bytes, not by counters."""
    base, models = config(model=tiny_folder(family)), DenseModels()
    expected = anatomy(base.model.load().model)
    for name, changes in CORE_RUNS.items():
        in_worker(with_changes(base, changes), store, models)
        assert models._kept is not None, name
        assert differing(anatomy(models._kept.loaded.model), expected) == [], name
        assert differing(anatomy(models.load(base.model).model), expected) == [], name


def first_of(kind: type[Event], number: int) -> Callable[[Event], bool]:
    seen: list[Event] = []

    def reached(event: Event) -> bool:
        if isinstance(event, kind):
            seen.append(event)
        return len(seen) == number

    return reached


ENDS: dict[str, tuple[Any, int]] = {
    "before the first module": (BlockStarted, 1),
    "within the first block": (ModulePruned, 3),
    "when matrices are factors": (ModuleEvent, 9),
    "between blocks": (BlockFinished, 1),
    "in the last block": (ModulePruned, 13),
}


@pytest.mark.parametrize("stage", ["low_rank", "barber"])
@pytest.mark.parametrize("end", ENDS)
def test_a_cancelled_run_leaves_nothing_behind(end: str, stage: str, config: Configs, store: Store) -> None:
    wanted, models = with_changes(config("wanda"), {"stages": (stage,)}), DenseModels()
    expected, reached = anatomy(wanted.model.load().model), first_of(*ENDS[end])

    def report(event: Event) -> None:
        if reached(event):
            store.request_cancel(store.active()[0].id)

    with pytest.raises(Cancelled):
        in_worker(wanted, store, models, report)
    assert store.runs()[0].status == "cancelled"
    assert models._kept is not None
    assert differing(anatomy(models.load(wanted.model).model), expected) == []


def test_factors_and_buffers_of_one_run_are_not_the_next_ones(config: Configs, tiny_folder: Folders) -> None:
    """What a run may do to a model beside its weights: other modules, hooks, gradients, buffers, config."""
    source, models = LocalFolder(path=str(tiny_folder("gpt2"))), DenseModels()
    expected = anatomy(source.load().model)
    model: Any = models.load(source).model
    model.register_forward_hook(lambda *call: None)
    model.train()
    model.config.vocab_size = 7
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
        parameter.requires_grad_(False)
    for buffer in model.buffers():
        buffer.fill_(0)
    with torch.no_grad():
        model.transformer.ln_f.weight.fill_(0)
    model.transformer.h[0].mlp.c_fc = FactoredLinear(32, 4, 64, True, model.transformer.ln_f.weight)
    model.lm_head = torch.nn.Linear(32, 2)
    assert len(differing(anatomy(model), expected)) > 20
    assert differing(anatomy(models.load(source).model), expected) == []


# Code from outside ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("kept_before", [True, False])
def test_a_plugin_that_writes_past_the_version_counters_changes_no_later_model(
    kept_before: bool,
    mapped: bool,
    plugins: None,
    config: Configs,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also where the model was kept before the plugin was there. Not mapped: it is kept, with checksums."""
    wanted, models = config("scribbler"), DenseModels()
    expected = anatomy(wanted.model.load().model)
    if not mapped:
        monkeypatch.setattr(dense, "_mapped", lambda model: False)
    if kept_before:
        with monkeypatch.context() as patch:
            patch.setattr(dense, "_outside", lambda: False)
            earlier = models.load(wanted.model).model
    in_worker(wanted, store, models)
    if models._kept is not None:
        kept = models._kept.loaded.model
        assert differing(anatomy(kept), expected), "the plugin wrote nothing"
        assert [parameter._version for parameter in kept.parameters()] == models._kept.versions, "past the counters"
    assert (models._kept is None) == mapped
    assert differing(anatomy(models.load(wanted.model).model), expected) == []
    assert ("changed in place" in caplog.text) == (not mapped)
    if kept_before and mapped:
        assert differing(anatomy(earlier), expected) == [], "a model that another thread may work with"


@pytest.mark.parametrize("mapped", [True, False])
def test_a_plugin_that_fails_leaves_nothing_behind(
    mapped: bool, plugins: None, config: Configs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, models = config("crasher"), DenseModels()
    expected = anatomy(wanted.model.load().model)
    if not mapped:
        monkeypatch.setattr(dense, "_mapped", lambda model: False)
    with pytest.raises(ZeroDivisionError):
        in_worker(wanted, store, models)
    assert store.runs()[0].status == "failed"
    assert differing(anatomy(models.load(wanted.model).model), expected) == []


def test_a_model_as_its_file_stores_it_is_a_map_of_the_file(tiny_folder: Folders) -> None:
    path = str(tiny_folder())
    assert dense._mapped(LocalFolder(path=path).load().model)
    assert not dense._mapped(LocalFolder(path=path, dtype="bfloat16").load().model)


def test_a_converted_model_is_kept_beside_plugins_that_behave(
    plugins: None, tiny_folder: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, source = DenseModels(), LocalFolder(path=str(tiny_folder()), dtype="bfloat16")
    expected = anatomy(models.load(source).model)
    monkeypatch.setattr(LocalFolder, "load", lambda source: pytest.fail("it was read again"))
    assert differing(anatomy(models.load(source).model), expected) == []


def test_without_plugins_no_checksum_is_taken(config: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    models, source = DenseModels(), config().model
    monkeypatch.setattr(dense, "_checksums", lambda model: pytest.fail("a checksum was taken"))
    for _ in range(3):
        models.load(source)
    assert really_outside(), "the methods of this file"


def test_core_alone_has_no_code_from_outside() -> None:
    code = "import core.api, core.execution; from core.models.dense import _outside; raise SystemExit(_outside())"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_checksum_sees_one_bit_and_an_exchange(dtype: torch.dtype) -> None:
    matrix = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).to(dtype)
    told = dense._checksum(torch.nn.Parameter(matrix))
    for other in (matrix[:, torch.tensor([1, 0, 2, 3, 4, 5, 6])], -matrix, matrix.clone()):
        bits = other.contiguous().view(torch.uint8)
        if torch.equal(other, matrix):
            bits[2, 3] ^= 1
        assert dense._checksum(other) != told
    assert dense._checksum(matrix.T.contiguous().T) == told, "the same matrix, stored by columns"


# Memory ---------------------------------------------------------------------------------------------------------------


def test_a_kept_model_is_given_away_when_memory_becomes_scarce(
    config: Configs, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, source = DenseModels(), config().model
    expected = anatomy(source.load().model)
    models.load(source)
    kept = vars(models)["_kept"].loaded.model
    monkeypatch.setattr(dense, "_has_room_beside", lambda model: False)
    given = models.load(source).model
    assert given is kept
    assert models._kept is None
    assert differing(anatomy(given), expected) == []


# As in a fresh process ------------------------------------------------------------------------------------------------

FRESH = """
import sys, torch
torch.set_num_threads(1)
from core.api import run_config
from core.config import RunConfig
from core.store import Store
print(run_config(RunConfig.model_validate_json(sys.argv[1]), Store.open())[1].id)
"""


def in_fresh_process(wanted: RunConfig, home: Path) -> tuple[Run, Store]:
    """The run, and the store that has it."""
    environment = os.environ | {"PRUNESCOPE_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FRESH, json.dumps(wanted.model_dump(mode="json"))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    store = Store.open(Settings(home=home))
    return store.run(done.stdout.split()[-1]), store


WORKERS: dict[str, dict[str, Any]] = {
    "core alone": {"_outside": lambda: False},
    "a plugin, and maps of a file": {},
    "a plugin, and checksums": {"_mapped": lambda model: False},
}


def test_runs_of_one_worker_are_those_of_fresh_processes(
    plugins: None, config: Configs, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a factor stage, a cancelled run and a plugin that failed; masks, weights and figures to the last bit."""
    wanted = [
        with_changes(config("sparsegpt"), {"allocation": "sensitivity"}),
        with_changes(config("wanda"), {"stages": ("barber", "low_rank")}),
    ]
    fresh = [in_fresh_process(each, tmp_path / f"fresh-{number}") for number, each in enumerate(wanted)]
    for worker, patches in WORKERS.items():
        with monkeypatch.context() as patch:
            patch.setattr(Crasher, "writes", "_outside" not in patches)
            for name, changed in patches.items():
                patch.setattr(dense, name, changed)
            models = DenseModels()
            _runs_that_end_in_every_way(config, store, models)
            for each, (there, other) in zip(wanted, fresh, strict=True):
                here = in_worker(each, store, models)
                assert differing(left_by(here, store), left_by(there, other)) == [], worker
    for _, other in fresh:
        other.close()


def _runs_that_end_in_every_way(config: Configs, store: Store, models: DenseModels) -> None:
    factors = {"stages": ({"stage": "low_rank", "modules": "*self_attn*"},)}
    in_worker(with_changes(config(), factors), store, models)

    def cancel(event: Event) -> None:
        if isinstance(event, BlockFinished):
            store.request_cancel(store.active()[0].id)

    with pytest.raises(Cancelled):
        in_worker(with_changes(config("wanda", sparsity=0.7), factors), store, models, cancel)
    Crasher.calls.clear()
    with pytest.raises(ZeroDivisionError):
        in_worker(config("crasher"), store, models)


def left_by(run: Run, store: Store) -> dict[str, Any]:
    assert run.result is not None
    survivors = store.survivors(run.id)
    assert survivors
    table = store.modules(run.id).drop(columns="seconds")
    return {
        "id": run.id,
        "figures": run.result.model_dump(include={"dense_perplexity", "perplexity", "sparsity", "figures"}),
        **{f"modules {column}": repr(table[column].tolist()) for column in table},
        **{f"mask {name}": contents(mask) for name, mask in store.masks(run.id).items()},
        **{f"survivors {name}": contents(weights) for name, weights in survivors.items()},
    }
