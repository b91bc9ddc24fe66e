"""Loads models and tokenizers with transformers, never executing a model's own code."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from core.errors import InputError, NotFound
from core.models.factors import load_factored, ranks_in, replace_all
from core.models.sources import LoadedModel, ModelSource
from core.models.structure import profile
from core.profile import ModelProfile

transformers.utils.logging.disable_progress_bar()  # progress is told by events


def load(source: ModelSource) -> LoadedModel:
    """Loads ``source``. Raises InputError where the files are not those of a model that can be loaded."""
    device = resolve_device(source.device)
    config = _config(source)
    folder = source.weights_folder()
    dtype = _dtype(source, config, device)
    try:
        if ranks := ranks_in(folder):
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
            missing = load_factored(model, ranks, folder)
        else:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                use_safetensors=None if source.pickle_allowed else True,
                trust_remote_code=False,
                weights_only=True,
                output_loading_info=True,
            )
            model, missing = loaded[0], sorted(loaded[1]["missing_keys"])
    except (OSError, ValueError) as error:
        raise NotFound(f"model = {source.label!r} cannot be loaded: {_first_line(error)}") from error
    except (SafetensorError, UnpicklingError) as error:
        raise InputError(
            f"model = {source.label!r} has weights that are broken, or hold more than weights; download or save them again."
        ) from error
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise InputError(f"model = {source.label!r} has weights that do not fit its config.json.") from error
    if missing:
        raise InputError(
            f"model = {source.label!r} lacks weights its config.json asks for ({missing[0]} and {len(missing) - 1} more); "
            "nothing is made up in their place."
        )
    model.to(device)  # type: ignore[arg-type]
    return LoadedModel(model.eval(), load_tokenizer(source))


def load_tokenizer(source: ModelSource) -> PreTrainedTokenizerBase:
    """The tokenizer of ``source``. Raises InputError where there is none."""
    folder = source.texts_folder()
    try:
        return _tokenizer(folder, source.revision_key())
    except (OSError, ValueError) as error:
        raise NotFound(
            f"model = {source.label!r} has no tokenizer that can be loaded; save one beside it (tokenizer.save_pretrained)."
        ) from error


@lru_cache(maxsize=2)
def _tokenizer(folder: Path, content: str) -> PreTrainedTokenizerBase:
    """Kept between runs, since loading takes a third of a second; ``content`` makes a changed folder another one."""
    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


def profile_without_weights(source: ModelSource) -> ModelProfile:
    """The profile of ``source`` from its config alone."""
    config = _config(source)
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
            replace_all(model, ranks_in(source.texts_folder()))
    except ValueError as error:
        raise InputError(f"model = {source.label!r} is not a causal language model: {_first_line(error)}") from error
    model.tie_weights()
    return profile(model)


def resolve_device(name: str) -> torch.device:
    """The torch device that ``name`` means here. Raises InputError where it does not exist."""
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return accelerator or torch.device("cpu")
    if name == "meta":
        raise InputError("device = 'meta' holds no data, so nothing can be pruned on it; use auto or cpu.")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device = {name!r} is not available here ({_first_line(error)}); use auto or cpu.") from error
    return device


def _config(source: ModelSource) -> PreTrainedConfig:
    folder = source.texts_folder()
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise NotFound(f"model = {source.label!r} cannot be loaded: {_first_line(error)}") from error
    if not isinstance(config, transformers.PreTrainedConfig):
        raise NotFound(f"model = {source.label!r} has a config.json that transformers does not know.")
    return config


def _dtype(source: ModelSource, config: PreTrainedConfig, device: torch.device) -> torch.dtype:
    if source.dtype != "auto":
        return getattr(torch, source.dtype)  # type: ignore[no-any-return]
    stored = config.dtype or torch.float32
    stored = getattr(torch, stored) if isinstance(stored, str) else stored
    return torch.float32 if stored == torch.float16 and device.type == "cpu" else stored


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
