"""What a run leaves on disk: masks, updated weights, the table of modules."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
from jaxtyping import Bool

from core.disk import writing
from core.errors import NotFound
from core.lazy import torch

MASKS, WEIGHTS, CONFIG = "masks.safetensors", "weights.safetensors", "config.json"
MODULES, GROUPS = "modules.parquet", "groups.parquet"
EIGENVALUES, SPECTRA = "eigenvalues.safetensors", "spectra.parquet"
_PERMUTATION = "permutation of "


Eigenvalues = Mapping[str, np.ndarray]
"""By full module name: ascending eigenvalues [min(out, in)] of W^T W, float64."""


@dataclass(frozen=True)
class Artifacts:
    """What of a run goes to disk."""

    modules: pd.DataFrame
    groups: pd.DataFrame
    masks: Mapping[str, torch.Tensor]
    """Packed keep masks by module."""
    permutations: Mapping[str, torch.Tensor]
    """By module: the order of inputs [in] in which its N:M pattern holds, where that is not the weights' own."""
    weights: Mapping[str, torch.Tensor]
    """Surviving weights [kept] of updated modules, in mask order; factors under ``left_key`` and ``right_key``."""


def left_key(module: str) -> str:
    return f"{module} left"


def right_key(module: str) -> str:
    return f"{module} right"


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


def write_masks(
    folder: Path,
    packed: Mapping[str, torch.Tensor],
    shapes: Mapping[str, tuple[int, int]],
    permutations: Mapping[str, torch.Tensor] | None = None,
) -> None:
    named = {f"{_PERMUTATION}{module}": order for module, order in (permutations or {}).items()}
    _save(folder / MASKS, {**packed, **named}, {"shapes": json.dumps(shapes)})


def read_masks(folder: Path) -> dict[str, torch.Tensor]:
    """Keep masks by module name."""
    from safetensors import safe_open

    with safe_open(folder / MASKS, framework="pt") as file:
        shapes = json.loads(file.metadata()["shapes"])
        names = [name for name in file.keys() if not name.startswith(_PERMUTATION)]  # noqa: SIM118
        return {name: unpack(file.get_tensor(name), tuple(shapes[name])) for name in names}


def read_packed(folder: Path) -> dict[str, tuple[np.ndarray, tuple[int, int]]]:
    """Keep masks by module name as they are kept: bits, eight a byte (what is beyond the last weight is zero), and shape."""
    from safetensors import safe_open

    with safe_open(folder / MASKS, framework="numpy") as file:
        shapes = json.loads(file.metadata()["shapes"])
        names = [name for name in file.keys() if not name.startswith(_PERMUTATION)]  # noqa: SIM118
        return {name: (file.get_tensor(name), tuple(shapes[name])) for name in names}


def read_mask(folder: Path, module: str) -> Bool[torch.Tensor, "out in"]:
    """A module's keep mask. Raises NotFound where it has none, having been replaced by factors."""
    from safetensors import safe_open

    with safe_open(folder / MASKS, framework="pt") as file:
        if module not in file.keys():  # noqa: SIM118
            raise NotFound(
                f"module = {module!r} has no mask in this run; it was replaced by factors, or does not exist."
            )
        return unpack(file.get_tensor(module), tuple(json.loads(file.metadata()["shapes"])[module]))


def read_permutations(folder: Path) -> dict[str, torch.Tensor]:
    """By module: the order of inputs in which its N:M pattern holds; modules in their own order are not named."""
    from safetensors import safe_open

    with safe_open(folder / MASKS, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(_PERMUTATION)]  # noqa: SIM118
        return {name.removeprefix(_PERMUTATION): file.get_tensor(name).long() for name in names}


def write_weights(folder: Path, survivors: Mapping[str, torch.Tensor]) -> int:
    """Writes survivors and factors; returns their bytes."""
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


def write_groups(folder: Path, groups: pd.DataFrame) -> None:
    groups.to_parquet(folder / GROUPS)


def read_groups(folder: Path) -> pd.DataFrame:
    """The parts of blocks that stages refined, one row each; empty where none did."""
    return pd.read_parquet(folder / GROUPS) if (folder / GROUPS).is_file() else pd.DataFrame()


def write_spectra(folder: Path, found: Eigenvalues, table: pd.DataFrame) -> None:
    from safetensors.numpy import save_file

    save_file(dict(found), folder / EIGENVALUES)
    table.to_parquet(folder / SPECTRA)


def read_eigenvalues(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / EIGENVALUES)


def read_spectra(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / SPECTRA)
