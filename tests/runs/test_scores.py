"""Scores of a run's modules: what they are computed on, that the inputs are collected once, and the command."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM

from core import block_inputs
from core.api import measure_now, run_config
from core.block_inputs import known_inputs
from core.cli.commands import main
from core.config import RunConfig
from core.errors import InputError, NotFound
from core.execution import calibration_tokens
from core.measurements.scores import Scores
from core.methods.magnitude import Magnitude
from core.methods.ria import RIA
from core.methods.sparsegpt import SparseGPT
from core.methods.wanda import Wanda
from core.methods.wanda_variant import WandaVariant
from core.module_scores import agreement, dense_weight, input_norm, open_scores, window_table
from core.scoring.aggregate import Window
from core.stages.barber import Barber
from core.stages.low_rank import LowRank
from core.stages.reallocation import Reallocation
from core.store import Run, Store
from tests.runs.material import sentence

Configs = Callable[..., RunConfig]
T = TypeVar("T")
LABELS = ["self_attn.q_proj", "self_attn.o_proj", "mlp.up_proj", "mlp.down_proj"]


def there(value: T | None) -> T:
    assert value is not None
    return value


@torch.no_grad()
def naive_inputs(run: Run, pruned: Any, block: int) -> dict[str, torch.Tensor]:
    """All inputs [tokens, in] of the modules of ``block`` in a forward of the whole model whose earlier blocks are pruned."""
    source: Any = run.config.model
    model = AutoModelForCausalLM.from_pretrained(source.path)
    for number in range(block):
        model.model.layers[number].load_state_dict(pruned.model.layers[number].state_dict())
    seen: dict[str, list[torch.Tensor]] = {label: [] for label in LABELS}
    for label in LABELS:
        model.get_submodule(f"model.layers.{block}.{label}").register_forward_hook(
            lambda module, args, output, label=label: seen[label].append(args[0].flatten(0, 1))
        )
    for window in calibration_tokens(run.config, source):
        model(window[None])
    return {f"model.layers.{block}.{label}": torch.cat(parts) for label, parts in seen.items()}


@pytest.mark.parametrize("method", ["wanda", "magnitude", "sparsegpt"])
@pytest.mark.parametrize("kept", [True, False])
def test_the_inputs_are_those_the_run_saw(config: Configs, store: Store, method: str, kept: bool) -> None:
    loaded, run = run_config(config(method=method), store)
    if not kept:
        store.delete_weights(run.id)
    measure_now(Scores.of_run(run, block=1, method=RIA()), store)
    found = known_inputs(run, 1, store)
    assert found is not None
    assert len(found.weights) == 7
    dense = AutoModelForCausalLM.from_pretrained(run.config.model.path).state_dict()
    for name, inputs in naive_inputs(run, loaded.model, 1).items():
        norm = inputs.double().square().sum(dim=0).div(4).sqrt()  # four windows
        assert found.statistics[name]["norm"].tolist() == pytest.approx(norm.tolist(), rel=1e-4)
        gram = inputs.double().T @ inputs.double() * 2 / 4
        assert torch.allclose(found.statistics[name]["gram"].double(), gram, rtol=1e-4, atol=1e-4 * float(gram.max()))
        assert torch.equal(found.weights[name], dense[f"{name}.weight"])
        assert torch.equal(input_norm(run, 1, name, store), found.statistics[name]["norm"])
    # Modules that read the same input share it on disk as well.
    q, k = (f"model.layers.1.self_attn.{part}_proj" for part in "qk")
    assert found.statistics[q] is found.statistics[k]


@pytest.mark.parametrize("sparsity", [0.5, "2:4"])
@pytest.mark.parametrize("block", [0, 1])
def test_the_runs_mask_is_what_its_scores_say(config: Configs, store: Store, sparsity: object, block: int) -> None:
    """Wanda's scores on the inputs collected anew choose, in plain numpy, the very mask that the run left."""
    _, run = run_config(config(method="wanda", sparsity=sparsity), store)
    scores = Scores.of_run(run, block=block, method=Wanda())
    measure_now(scores, store)
    for label in LABELS:
        module = f"model.layers.{block}.{label}"
        found = open_scores(scores, run, module, store)
        assert found.own
        weight, norm = dense_weight(run, block, module, store).numpy(), input_norm(run, block, module, store).numpy()
        assert np.array_equal(there(found.scores), np.abs(weight) * norm)
        size = weight.shape[1] if sparsity == 0.5 else 4
        groups = there(found.scores).reshape(-1, size)
        order = groups.argsort(axis=1, kind="stable")
        keep = np.ones_like(groups, dtype=bool)
        np.put_along_axis(keep, order[:, : size // 2], False, axis=1)
        assert np.array_equal(found.keep, keep.reshape(weight.shape))
        assert there(found.facts.cut).separates
        assert there(found.facts.cut).groups == len(groups)


def test_the_inputs_are_collected_once(config: Configs, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    _, run = run_config(config(method="wanda"), store)
    own, other = (Scores.of_run(run, block=1, method=method) for method in (Wanda(), SparseGPT()))
    assert not own.known(store)
    measure_now(own, store)
    assert own.known(store)
    assert not other.known(store)
    monkeypatch.setattr(block_inputs, "capture", lambda *args: pytest.fail("the text was read again"))
    monkeypatch.setattr(block_inputs, "reopening", lambda *args, **named: pytest.fail("the model was loaded again"))
    measure_now(other, store)
    module = "model.layers.1.mlp.down_proj"
    a, b = (open_scores(scores, run, module, store) for scores in (own, other))
    assert (a.own, b.own) == (True, False)
    both, either = int((a.keep & b.keep).sum()), int((a.keep | b.keep).sum())
    found = agreement(a, b)
    assert found[:3] == (both, either, both / either)
    assert found.by_chance == pytest.approx(1 / 3)  # both keep half
    store.delete(run.id)
    assert not own.known(store)
    assert store.measurement(own.id) is None


def test_a_repeated_runs_scores_are_computed_anew(config: Configs, store: Store) -> None:
    _, run = run_config(config(method="wanda"), store)
    before = Scores.of_run(run, block=0, method=Wanda())
    measure_now(before, store)
    _, again = run_config(config(method="wanda"), store)
    after = Scores.of_run(again, block=0, method=Wanda())
    assert not after.known(store)
    with pytest.raises(InputError, match="repeated meanwhile"):
        measure_now(before, store)


def test_stages_that_change_the_mask_are_told(config: Configs, store: Store) -> None:
    wanted = config(method="wanda").model_copy(update={"stages": (Barber(),)})
    _, run = run_config(wanted, store)
    scores = Scores.of_run(run, block=0, method=Wanda())
    measure_now(scores, store)
    found = open_scores(scores, run, "model.layers.0.mlp.up_proj", store)
    assert np.array_equal(found.keep, store.mask(run.id, found.module).numpy())
    assert not there(found.facts.cut).separates
    weight, norm = (part(run, 0, found.module, store) for part in (dense_weight, input_norm))
    strange = [
        (i, j)
        for i in range(found.shape[0])
        for j in range(found.shape[1])
        if not there(found.place(i, j)).by_score
    ]  # fmt: skip
    assert strange
    i, j = strange[0]
    said = found.why(i, j, float(weight[i, j]), float(norm[j]), found.place(i, j))
    assert "by this score alone it would be" in said
    assert "LLM-Barber" in said


def test_reallocated_groups_are_compared_in_their_order(config: Configs, store: Store) -> None:
    wanted = config(method="ria", sparsity="2:4").model_copy(update={"stages": (Reallocation(),)})
    _, run = run_config(wanted, store)
    scores = Scores.of_run(run, block=0, method=RIA())
    measure_now(scores, store)
    order = store.permutations(run.id)
    assert order
    for module in order:
        if module.startswith("model.layers.0."):
            found = open_scores(scores, run, module, store)
            assert there(found.facts.cut).separates
            assert there(found.place(1, 5)).size == 4


def test_a_method_without_scores_shows_its_mask(config: Configs, store: Store) -> None:
    _, run = run_config(config(method="wanda"), store)
    scores = Scores.of_run(run, block=0, method=WandaVariant())
    measure_now(scores, store)
    found = open_scores(scores, run, "model.layers.0.mlp.up_proj", store)
    assert found.scores is None
    assert found.keep.mean() == pytest.approx(0.5, abs=0.02)
    assert found.place(0, 0) is None
    assert "chooses its mask while it goes" in found.why(0, 0, 1.0, 1.0, None)


def test_what_was_replaced_by_factors_has_none(config: Configs, store: Store) -> None:
    wanted = config(sparsity=0.0).model_copy(update={"stages": (LowRank(rank_ratio=0.25),)})
    _, run = run_config(wanted, store)
    scores = Scores.of_run(run, block=1, method=Magnitude())
    measure_now(scores, store)
    with pytest.raises(NotFound, match="has no scores"):
        open_scores(scores, run, "model.layers.1.self_attn.q_proj", store)


def test_the_window_holds_the_true_values(config: Configs, store: Store) -> None:
    _, run = run_config(config(method="wanda"), store)
    both = [Scores.of_run(run, block=0, method=method) for method in (Wanda(), Magnitude())]
    for scores in both:
        measure_now(scores, store)
    module = "model.layers.0.mlp.up_proj"
    sides = [open_scores(scores, run, module, store) for scores in both]
    table = window_table(sides, 0, Window(8, 16, 3, 5), store)
    dense = AutoModelForCausalLM.from_pretrained(run.config.model.path).state_dict()[f"{module}.weight"]
    mask = store.mask(run.id, module)
    assert len(table) == 15
    for row in table.to_dict("records"):
        place = row["output"], row["input"]
        assert row["weight"] == float(dense[place])
        assert row["kept wanda"] == bool(mask[place])
    assert list(table.columns) == [
        "output", "input", "weight", "input norm", "score wanda", "kept wanda", "score magnitude", "kept magnitude",
    ]  # fmt: skip
    assert table["score magnitude"].tolist() == table.weight.abs().tolist()


# The command -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [None, "0,16,4"])
def test_the_command_prints_the_figures_and_writes_a_table(
    config: Configs, store: Store, tmp_path: Path, window: str | None
) -> None:
    _, run = run_config(config(method="wanda"), store)
    file = tmp_path / "scores.csv"
    module = "model.layers.1.mlp.down_proj"
    words = ["scores", run.id, "--module", module, "--against", "ria", "--out", str(file)]
    result = CliRunner().invoke(main, words + (["--window", window] if window else []))
    assert result.exit_code == 0, result.output
    own, other = (
        open_scores(Scores.of_run(run, block=1, method=method), run, module, store) for method in (Wanda(), RIA())
    )
    assert f"{agreement(own, other).overlap:.4f}" in result.stdout
    assert f"{(own.keep != other.keep).mean():.2%}" in result.stdout
    table = pd.read_csv(file)
    if window:
        assert len(table) == 16
        assert (table.output.max(), table.input.min(), table.input.max()) == (3, 16, 19)
        assert table["score ria"].tolist() == pytest.approx(there(other.scores)[0:4, 16:20].ravel().tolist(), rel=1e-6)
    else:
        assert table["mean score wanda"].max() <= there(own.scores).max()
        assert len(table) == own.shape[0] * own.shape[1]  # smaller than the cells: each is a weight


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--module", "model.layers.9.nothing"], "is not a module"),
        (["--module", "model.layers.0.mlp.up_proj", "--against", "wnada"], "Did you mean 'wanda'"),
        (["--module", "model.layers.0.mlp.up_proj", "--window", "0,999,4"], "window = '0,999,4'"),
        (["--module", "model.layers.0.mlp.up_proj", "--window", "some"], "window = 'some'"),
        (["--module", "model.layers.0.mlp.up_proj", "--out", "scores.txt"], ".parquet"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(config: Configs, store: Store, words: list[str], part: str) -> None:
    _, run = run_config(config(method="magnitude"), store)
    assert part in sentence(CliRunner().invoke(main, ["scores", run.id, *words]))
