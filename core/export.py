"""Writes a pruned model as a Hugging Face folder."""

from __future__ import annotations

from pathlib import Path

from core.errors import InputError
from core.models.sources import LoadedModel
from core.store import Run
from core.store.artifacts import new_folder, write_config

RUN_FILE = "prunescope.json"


def check_target(directory: Path, overwrite: bool) -> None:
    """Raises InputError where saving to ``directory`` would overwrite something, unless told to."""
    above = next(parent for parent in directory.absolute().parents if parent.exists())
    if not above.is_dir():
        raise InputError(f"save = {str(directory)!r} lies below {above}, which is a file; choose another folder.")
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())) and not overwrite:
        raise InputError(f"save = {str(directory)!r} exists already; choose another folder or add --overwrite.")


def save(loaded: LoadedModel, run: Run, directory: Path, overwrite: bool = False) -> Path:
    """Saves model (safetensors), tokenizer and the run's config to ``directory``, all or nothing.

    ``AutoModelForCausalLM.from_pretrained(directory)`` loads it. Raises InputError: folder exists, disk full.
    """
    check_target(directory, overwrite)
    if directory.is_file():
        directory.unlink()
    with new_folder(directory) as folder:
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        write_config(folder, run.config.model_dump(mode="json"), RUN_FILE)
    return directory
