"""What a run leaves on disk: masks, updated weights, the table of modules."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import pandas as pd
from jaxtyping import Bool

from core.disk import writing
from core.errors import NotFound
from core.evaluation.result import Evaluated, Perplexity, TokenLosses
from core.lazy import torch

MASKS, WEIGHTS, CONFIG = "masks.safetensors", "weights.safetensors", "config.json"
MODULES, GROUPS = "modules.parquet", "groups.parquet"
EIGENVALUES, SPECTRA = "eigenvalues.safetensors", "spectra.parquet"
_OF_MODULE = ".spectrum.safetensors"
FINDING = "finding.json"
EVALUATED = "perplexity"
PERMUTATION = "permutation of "


Eigenvalues = Mapping[str, np.ndarray]
"""By full module name: ascending eigenvalues [min(out, in)] of W^T W, float64."""


class ModuleSpectrum(NamedTuple):
    """One module's eigenvalues, ascending, float64, and its rows of the table of spectra, one a fit."""

    values: np.ndarray
    rows: list[dict[str, Any]]


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
    evaluated: Mapping[str, Evaluated] = field(default_factory=dict)
    """What was measured on each text, by its key."""


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
    named = {f"{PERMUTATION}{module}": order for module, order in (permutations or {}).items()}
    _save(folder / MASKS, {**packed, **named}, {"shapes": json.dumps(shapes)})


def read_masks(folder: Path) -> dict[str, torch.Tensor]:
    """Keep masks by module name."""
    from safetensors import safe_open

    with safe_open(folder / MASKS, framework="pt") as file:
        shapes = json.loads(file.metadata()["shapes"])
        names = [name for name in file.keys() if not name.startswith(PERMUTATION)]  # noqa: SIM118
        return {name: unpack(file.get_tensor(name), tuple(shapes[name])) for name in names}


def read_packed(folder: Path) -> dict[str, tuple[np.ndarray, tuple[int, int]]]:
    """Keep masks by module name as they are kept: bits, eight a byte (what is beyond the last weight is zero), and shape."""
    from safetensors import safe_open

    with safe_open(folder / MASKS, framework="numpy") as file:
        shapes = json.loads(file.metadata()["shapes"])
        names = [name for name in file.keys() if not name.startswith(PERMUTATION)]  # noqa: SIM118
        return {name: (file.get_tensor(name), tuple(shapes[name])) for name in names}


def read_mask(folder: Path, module: str) -> Bool[torch.Tensor, "out in"]:
    """A module's keep mask. Raises NotFound where it has none, having been replaced by factors."""
    packed, shape = read_packed_mask(folder, module)
    return unpack(torch.from_numpy(packed), shape)


def read_packed_mask(folder: Path, module: str) -> tuple[np.ndarray, tuple[int, int]]:
    """One module's as bits. Raises NotFound as ``read_mask``."""
    from safetensors import safe_open

    with safe_open(folder / MASKS, framework="numpy") as file:
        _check_masked(module, file)
        return file.get_tensor(module), tuple(json.loads(file.metadata()["shapes"])[module])


def _check_masked(module: str, file: Any) -> None:
    if module not in file.keys():  # noqa: SIM118
        raise NotFound(f"module = {module!r} has no mask in this run; it was replaced by factors, or does not exist.")


def read_permutations(folder: Path) -> dict[str, torch.Tensor]:
    """By module: the order of inputs in which its N:M pattern holds; modules in their own order are not named."""
    from safetensors import safe_open

    with safe_open(folder / MASKS, framework="pt") as file:
        names = [name for name in file.keys() if name.startswith(PERMUTATION)]  # noqa: SIM118
        return {name.removeprefix(PERMUTATION): file.get_tensor(name).long() for name in names}


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


def write_module_spectrum(folder: Path, module: str, spectrum: ModuleSpectrum) -> None:
    """One module's of a table that is not complete yet."""
    from safetensors.numpy import save_file

    file = folder / f"{module}{_OF_MODULE}"
    unfinished = file.with_name(f".{uuid4().hex}")
    save_file({"eigenvalues": spectrum.values}, unfinished, {"module": module, "rows": json.dumps(spectrum.rows)})
    unfinished.replace(file)


def read_module_spectra(folder: Path) -> dict[str, ModuleSpectrum]:
    """By module, what there is of an incomplete table."""
    from safetensors import safe_open

    found = {}
    for path in folder.glob(f"*{_OF_MODULE}"):
        with safe_open(path, framework="np") as file:
            facts = file.metadata()
            found[facts["module"]] = ModuleSpectrum(file.get_tensor("eigenvalues"), json.loads(facts["rows"]))
    return found


def read_eigenvalues(folder: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(folder / EIGENVALUES)


def read_spectra(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / SPECTRA)


def evaluated_file(folder: Path, key: str) -> Path:
    """Where what was measured on a text is kept: the perplexity in the metadata; tokens and losses, where they are kept."""
    return folder / EVALUATED / f"{key}.safetensors"


def write_evaluated(folder: Path, key: str, found: Evaluated) -> None:
    """Whole or not at all: others may read it meanwhile."""
    from safetensors.numpy import save_file

    file = evaluated_file(folder, key)
    unfinished = file.with_name(f".{file.name}-{uuid4().hex}")
    arrays = vars(found.token_losses) if found.token_losses else {}
    with writing(file, "PRUNESCOPE_HOME"):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file(arrays, unfinished, {"perplexity": found.perplexity.model_dump_json()})
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)


def read_perplexity(file: Path) -> Perplexity:
    from safetensors import safe_open

    with safe_open(file, framework="np") as content:
        return Perplexity.model_validate_json(content.metadata()["perplexity"])


def read_token_losses(file: Path) -> TokenLosses | None:
    """None where the text was too long for them to be kept."""
    from safetensors.numpy import load_file

    arrays = load_file(file)
    return TokenLosses(**arrays) if arrays else None


class KeptTensors:
    """Tensors by name in a file, with facts beside them; each is read from the disk only where it is looked at."""

    def __init__(self, file: Path) -> None:
        from safetensors import safe_open

        self._content: Any = safe_open(file, framework="pt")
        self.facts: dict[str, Any] = json.loads(self._content.metadata()["facts"])  # type: ignore[no-untyped-call]

    def __contains__(self, name: object) -> bool:
        return name in self._content.keys()  # noqa: SIM118

    def __getitem__(self, name: str) -> torch.Tensor:
        found: torch.Tensor = self._content.get_tensor(name)
        return found


def tensors_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.safetensors"


def write_tensors(file: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Whole or not at all: others may read it meanwhile."""
    unfinished = file.with_name(f".{file.name}-{uuid4().hex}")
    with writing(file, "PRUNESCOPE_HOME"):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            _save(unfinished, tensors, {"facts": json.dumps(facts)})
            unfinished.replace(file)
        finally:
            unfinished.unlink(missing_ok=True)


def write_finding(folder: Path, finding: dict[str, Any]) -> None:
    write_config(folder, finding, FINDING)


def read_finding(folder: Path) -> dict[str, Any]:
    finding: dict[str, Any] = json.loads((folder / FINDING).read_text(encoding="utf-8"))
    return finding
