"""Where a model is saved to: looked at before any work, and light enough for the app to look."""

from __future__ import annotations

from pathlib import Path

from core.errors import InputError
from core.models.sources import LocalFolder, ModelSource

RUN_FILE = "prunescope.json"
MASKS_FOLDER = "pruning"
"""Of a saved model: apart from its weights, since some programs load every safetensors file they find beside them."""


def check_target(directory: Path, overwrite: bool, model: ModelSource | None = None) -> None:
    """Raises InputError where saving to ``directory`` would overwrite something, unless told to; ``model`` itself never."""
    if isinstance(model, LocalFolder) and directory.resolve() == model.texts_folder():
        raise InputError(f"save = {str(directory)!r} is the model that is pruned; choose another folder.")
    above = next(parent for parent in directory.absolute().parents if parent.exists())
    if not above.is_dir():
        raise InputError(f"save = {str(directory)!r} lies below {above}, which is a file; choose another folder.")
    if not directory.exists() or (directory.is_dir() and not any(directory.iterdir())):
        return
    if not overwrite:
        raise InputError(f"save = {str(directory)!r} exists already; choose another folder or add --overwrite.")
    if not (directory / RUN_FILE).is_file():
        raise InputError(
            f"save = {str(directory)!r} holds something else than a model saved by this program, which is not overwritten; "
            "remove it yourself, or choose another folder."
        )
