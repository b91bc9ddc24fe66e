"""Which files of a folder or repository hold a model's weights, and whether they may be loaded."""

from __future__ import annotations

from collections.abc import Iterable

from core.errors import InputError, NotFound

_SAFETENSORS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "low_rank_model.safetensors",  # written by core.models.factors
    "low_rank_model.safetensors.index.json",
)
_PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")


def weights_file(model: str, names: Iterable[str], allow_bin: bool) -> str:
    """The file among ``names`` that holds the weights, or the index that lists their shards; safetensors preferred.

    Raises InputError where there is none, or where it is a .bin file and these are not allowed.
    """
    there = set(names)
    for name in _SAFETENSORS:
        if name in there:
            return name
    pickled = next((name for name in _PICKLED if name in there), None)
    if pickled is None:
        raise NotFound(
            f"model = {model!r} holds no weights this program loads ({', '.join(_SAFETENSORS[:2])}); give a saved model."
        )
    if not allow_bin:
        raise InputError(
            f"model = {model!r} exists only as .bin weights; allow .bin weights (--allow-bin) to load them weights-only, "
            "or choose a model with safetensors."
        )
    return pickled
