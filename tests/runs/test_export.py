"""Saved models: folded orders, factors, rounded weights, cards; loaded again by transformers and by us."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from core.api import export_run, run_config
from core.config import RunConfig
from core.errors import InputError
from core.figures import tuning_curves
from core.models.folding import fold
from core.models.sources import LocalFolder
from core.models.structure import decoder_blocks, read_weight
from core.reopening import reopen
from core.settings import Settings
from core.store import Store
from core.store.artifacts import read_masks, read_permutations
from tests import tiny_models
from tests.runs.material import naive_perplexity

Configs = Callable[..., RunConfig]
REALLOCATION = {"stage": "reallocation", "lsa": True}
FACTORS = {"stage": "low_rank", "modules": "*", "rank_ratio": 0.25}
TOKENS = torch.arange(24)[None] * 7 % 128


def with_stages(config: RunConfig, *stages: Any) -> RunConfig:
    return RunConfig.model_validate(config.model_dump(mode="json") | {"stages": list(stages)})


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(TOKENS).logits
    return found


def holds(mask: torch.Tensor) -> bool:
    return bool((mask.reshape(-1, 4).sum(dim=1) == 2).all())


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "qwen3"])
def test_orders_are_folded_where_that_is_exact(
    config: Configs, store: Store, texts: dict[str, Path], tiny_folder: Callable[..., Path], tmp_path: Path, family: str
) -> None:
    """The module after the activation reads what its neighbours produce; the output of attention cannot be reordered."""
    wanted = with_stages(config("ria", "2:4", tiny_folder(family)), REALLOCATION)
    loaded, run = run_config(wanted, store)
    assert run.result is not None
    export_run(run.id, tmp_path / "saved", store)
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "saved").eval()
    masks, kept = read_masks(tmp_path / "saved" / "pruning"), read_permutations(tmp_path / "saved" / "pruning")
    last = {"llama": "mlp.down_proj", "opt": "fc2", "gpt2": "mlp.c_proj", "qwen3": "mlp.down_proj"}[family]
    modules = {name: module for block in decoder_blocks(saved) for name, module in block.modules.items()}
    assert set(modules) == set(masks)
    assert set(modules) - set(kept) == {name for name in modules if name.endswith(last)}
    for name, module in modules.items():
        order = kept.get(name, torch.arange(masks[name].shape[1]))
        assert holds(masks[name][:, order])
        assert (read_weight(module)[~masks[name]] == 0).all()
    torch.testing.assert_close(logits(saved), logits(loaded.model), rtol=1e-4, atol=1e-5)
    perplexity = naive_perplexity(saved, loaded.tokenizer, texts["evaluation"], 6)
    assert run.result.perplexity.value == pytest.approx(perplexity, rel=1e-4)
    card = (tmp_path / "saved" / "README.md").read_text()
    for words in ("RIA 2:4", "lsa = True", run.id, "zhang2024plugandplay", "Order of inputs", f"{run.result.pruned:,}"):
        assert words in card


def test_a_fold_that_changes_the_model_is_undone() -> None:
    model = tiny_models.tiny_model("llama", num_key_value_heads=4)
    before = logits(model)
    order = torch.randperm(32, generator=torch.Generator().manual_seed(0))
    assert fold(model, {"model.layers.0.self_attn.o_proj": order}) == {}
    assert torch.equal(logits(model), before)


def test_factors_are_saved_and_loaded(config: Configs, store: Store, tmp_path: Path) -> None:
    wanted = with_stages(config("wanda"), FACTORS)
    loaded, run = run_config(wanted, store)
    result = run.result
    assert result is not None
    assert result.pruned == 0
    assert result.parameters_after is not None
    assert result.parameters_after < result.parameters
    factored = sum(parameter.numel() for name, parameter in loaded.model.named_parameters() if ".left." in name)
    factored += sum(parameter.numel() for name, parameter in loaded.model.named_parameters() if ".right." in name)
    assert result.parameters_after == factored
    assert torch.equal(logits(reopen(run.id, store).model), logits(loaded.model))

    folder = export_run(run.id, tmp_path / "saved", store)
    with pytest.raises(OSError, match=r"model\.safetensors"):  # rather than random numbers in the place of the weights
        AutoModelForCausalLM.from_pretrained(folder)
    source = LocalFolder(path=str(folder))
    again = source.load()
    assert torch.equal(logits(again.model), logits(loaded.model))
    assert [p.shape for p in again.model.parameters()] == [p.shape for p in loaded.model.parameters()]
    assert {module.label for module in source.profile().modules} >= {"self_attn.q_proj.right", "mlp.up_proj.left"}
    pruned_again, _ = run_config(config("magnitude", model=folder), store)
    assert not torch.equal(logits(pruned_again.model), logits(loaded.model))
    assert "core.LocalFolder" in (folder / "README.md").read_text()


def test_a_broken_folder_of_factors_is_one_sentence(config: Configs, store: Store, tmp_path: Path) -> None:
    _, run = run_config(with_stages(config(), FACTORS), store)
    folder = export_run(run.id, tmp_path / "saved", store)
    ranks = json.loads((folder / "low_rank.json").read_text())
    del ranks["model.layers.0.mlp.up_proj"]
    (folder / "low_rank.json").write_text(json.dumps(ranks))
    with pytest.raises(InputError, match="lacks weights"):
        LocalFolder(path=str(folder)).load()


def test_rounded_weights_reload(config: Configs, store: Store, tmp_path: Path) -> None:
    wanted = config("sparsegpt", "2:4")
    wanted = wanted.model_copy(update={"method": wanted.method.model_copy(update={"bits": 4, "bits_group": 8})})
    loaded, run = run_config(RunConfig.model_validate(wanted.model_dump(mode="json")), store)
    result = run.result
    assert result is not None
    survivors, grids = result.parameters - result.pruned, result.parameters / 8
    assert result.packed_bytes == (survivors * 4 + grids * (16 + 4)) / 8 + result.parameters / 8
    assert result.packed_bytes < result.bitmask_bytes
    saved = AutoModelForCausalLM.from_pretrained(export_run(run.id, tmp_path / "saved", store)).eval()
    assert torch.equal(logits(saved), logits(loaded.model))
    for block in decoder_blocks(saved):
        for module in block.modules.values():
            groups = read_weight(module).reshape(-1, 8)
            assert max(len(group.unique()) for group in groups) <= 16


STAGES: list[list[Any]] = [
    [REALLOCATION],
    [REALLOCATION, "reconstruction"],
    [{"stage": "barber", "threshold": 0.5}],
    ["reconstruction", {"stage": "barber", "threshold": 0.5, "keep_reconstruction": True}, FACTORS],
    ["dsnot"],
    [REALLOCATION, "dsnot", "admm", {"stage": "tuning", "learning_rate": 1e-3, "epochs": 2}],
]


@pytest.mark.parametrize("keep", ["always", "never"])
@pytest.mark.parametrize(
    "stages", STAGES, ids=lambda stages: "+".join(s if isinstance(s, str) else s["stage"] for s in stages)
)
def test_a_run_with_stages_is_reopened_as_it_was(
    config: Configs, home: Path, tmp_path: Path, stages: list[Any], keep: Any
) -> None:
    """From masks and kept weights, or pruned again where these are gone."""
    store = Store.open(Settings(home=home, keep_weights=keep))
    loaded, run = run_config(with_stages(config("ria", "2:4"), *stages), store)
    assert torch.equal(logits(reopen(run.id, store).model), logits(loaded.model))
    assert (store.survivors(run.id) is None) == (keep == "never" or stages == [REALLOCATION] or len(stages) == 1)
    groups = store.groups(run.id)
    named = str(stages)
    assert len(groups) == (4 if "barber" in named else 2 if "tuning" in named else 0)
    assert len(tuning_curves(groups)) == (6 if "tuning" in named else 0), "untuned and two epochs of two blocks"
    store.close()
