"""What a run leaves on disk: masks, updated weights, the table of modules."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from jaxtyping import Bool

from core.disk import writing
from core.lazy import torch

MASKS, WEIGHTS, MODULES, CONFIG = "masks.safetensors", "weights.safetensors", "modules.parquet", "config.json"


def pack(keep: Bool[torch.Tensor, "out in"]) -> torch.Tensor:
    """A keep mask as bits, eight a byte, row after row."""
    return torch.from_numpy(np.packbits(keep.cpu().numpy()))


def unpack(bits: torch.Tensor, shape: tuple[int, int]) -> Bool[torch.Tensor, "out in"]:
    flat = np.unpackbits(bits.numpy(), count=shape[0] * shape[1])
    return torch.from_numpy(flat.astype(bool).reshape(shape))


@contextmanager
def new_folder(folder: Path, setting: str | None = None) -> Iterator[Path]:
    """A folder to fill, which takes the place of ``folder`` only when it is complete.

    Raises InputError, naming the place and the ``setting`` that moves it, when the disk is full; what was there before stays.
    """
    unfinished = folder.with_name(f".{folder.name}-{uuid4().hex}")
    with writing(folder, setting):
        try:
            unfinished.mkdir(parents=True)
            yield unfinished
            shutil.rmtree(folder, ignore_errors=True)
            unfinished.rename(folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)


def write_config(folder: Path, config: dict[str, Any], name: str = CONFIG) -> None:
    (folder / name).write_text(json.dumps(config, indent=2), encoding="utf-8")


def write_masks(folder: Path, packed: Mapping[str, torch.Tensor], shapes: Mapping[str, tuple[int, int]]) -> None:
    _save(folder / MASKS, packed, {"shapes": json.dumps(shapes)})


def read_masks(folder: Path) -> dict[str, torch.Tensor]:
    """Keep masks by module name."""
    from safetensors import safe_open

    with safe_open(folder / MASKS, framework="pt") as file:
        shapes = json.loads(file.metadata()["shapes"])
        return {name: unpack(file.get_tensor(name), tuple(shapes[name])) for name in file.keys()}  # noqa: SIM118


def read_mask(folder: Path, module: str) -> Bool[torch.Tensor, "out in"]:
    from safetensors import safe_open

    with safe_open(folder / MASKS, framework="pt") as file:
        return unpack(file.get_tensor(module), tuple(json.loads(file.metadata()["shapes"])[module]))


def write_weights(folder: Path, survivors: Mapping[str, torch.Tensor]) -> int:
    """Writes the surviving weights [kept] of updated modules, in mask order; returns their bytes."""
    _save(folder / WEIGHTS, survivors, {})
    return (folder / WEIGHTS).stat().st_size


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(folder / WEIGHTS)


def _save(file: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    from safetensors.torch import save_file

    save_file(dict(tensors), file, metadata=metadata)


def write_modules(folder: Path, modules: pd.DataFrame) -> None:
    modules.to_parquet(folder / MODULES)


def read_modules(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / MODULES)
