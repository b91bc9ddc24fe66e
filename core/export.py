"""Writes a pruned model as a Hugging Face folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from core.card import model_card
from core.models.factors import ranks_of, save_factored
from core.models.folding import fold
from core.models.sources import LoadedModel
from core.store import Run, Store
from core.store.artifacts import new_folder, pack, write_config, write_masks
from core.target import MASKS_FOLDER, RUN_FILE, check_target


def save(loaded: LoadedModel, run: Run, store: Store, directory: Path, overwrite: bool = False) -> Path:
    """Saves model (safetensors), tokenizer, masks, the run's config and a model card to ``directory``, all or nothing.

    ``AutoModelForCausalLM.from_pretrained(directory)`` loads it, unless modules were replaced by factors:
    ``core.LocalFolder`` loads any. Orders of inputs are folded into ``loaded`` where that is exact. Raises InputError:
    folder exists, disk full.
    """
    check_target(directory, overwrite, run.config.model)
    permutations = store.permutations(run.id)
    folded = fold(loaded.model, permutations) if permutations else {}
    ranks = ranks_of(loaded.model)
    with new_folder(directory) as folder:
        if ranks:
            save_factored(loaded.model, ranks, folder)
        else:
            loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        masks = _in_new_order(store.masks(run.id), permutations, folded)
        kept = {name: order for name, order in permutations.items() if name not in folded}
        shapes = {name: (mask.shape[0], mask.shape[1]) for name, mask in masks.items()}
        (folder / MASKS_FOLDER).mkdir()
        write_masks(folder / MASKS_FOLDER, {name: pack(mask) for name, mask in masks.items()}, shapes, kept)
        write_config(folder, run.config.model_dump(mode="json"), RUN_FILE)
        (folder / "README.md").write_text(model_card(run, bool(ranks), folded, kept), encoding="utf-8")
    return directory


def _in_new_order(
    masks: dict[str, torch.Tensor], permutations: Mapping[str, torch.Tensor], folded: Mapping[str, list[str]]
) -> dict[str, torch.Tensor]:
    masks = dict(masks)
    for name, producers in folded.items():
        order = permutations[name]
        masks[name] = masks[name][:, order]
        for producer in producers:
            masks[producer] = masks[producer][order]
    return masks
