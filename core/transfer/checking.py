"""Whether an unpacked run is whole and agrees with itself: id, figures, tables, masks, weights and texts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open

from core.config import RunConfig
from core.errors import InputError, explain
from core.evaluated import text_keys
from core.evaluation.result import Perplexity, perplexity
from core.store import RunRecord, RunResult, artifacts
from core.store.artifacts import CONFIG, GROUPS, MASKS, MODULES, WEIGHTS
from core.transfer.content import RECORD

_MOST_ROWS = 1_000_000
_SAME = 1e-9
_FLOATS = ("F64", "F32", "F16", "BF16")


class CheckedRun(NamedTuple):
    """A run that was unpacked to ``folder`` and found good."""

    record: RunRecord
    config: RunConfig
    folder: Path


class _Module(BaseModel):
    """What a row of the table of modules must have; stages may add to it."""

    module: str
    block: Annotated[int, Field(ge=0)]
    label: str
    rows: Annotated[int, Field(ge=1)]
    columns: Annotated[int, Field(ge=1)]
    parameters: int
    target: Annotated[float, Field(ge=0, le=1)]
    pruned: Annotated[int, Field(ge=0)]
    sparsity: float
    dead_inputs: Annotated[int, Field(ge=0)]
    error: float
    error_basis: str
    updated: bool
    seconds: float
    factored_parameters: float = 0.0

    @property
    def factored(self) -> bool:
        return self.factored_parameters > 0  # NaN, where another module was factored, is not


_MODULES = TypeAdapter(list[_Module])


def checked(folder: Path) -> CheckedRun:
    """Raises InputError, naming the run and what of it is wrong."""
    record = _record(folder)
    config = _config(folder, record)
    _check_figures(record)
    modules = _modules(folder, record)
    kept = _check_masks(folder, record.id, modules)
    if (folder / WEIGHTS).is_file():
        _check_weights(folder, record.id, modules, kept)
    _check_texts(folder, record, config)
    return CheckedRun(record, config, folder)


def _wrong(run_id: str, what: str) -> InputError:
    return InputError(f"run = {run_id!r} of the file {what}; export it again where it was made.")


_UNREADABLE = (
    SafetensorError,
    pa.ArrowException,
    json.JSONDecodeError,
    UnicodeDecodeError,
    KeyError,
    OSError,
    RecursionError,
    TypeError,
)
"""What the readers raise on what is not what they read."""


@contextmanager
def _readable(run_id: str, name: str) -> Iterator[None]:
    try:
        yield
    except _UNREADABLE as error:
        raise _wrong(run_id, f"has a {name} that cannot be read ({type(error).__name__})") from error
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise _wrong(run_id, f"has a {name} with a wrong entry ({place}: {error.errors()[0]['msg']})") from error


def _record(folder: Path) -> RunRecord:
    with _readable(folder.name, RECORD):
        record = RunRecord.model_validate_json((folder / RECORD).read_bytes())
    if record.id != folder.name:
        raise _wrong(folder.name, f"says that it is run {record.id}")
    return record


def _config(folder: Path, record: RunRecord) -> RunConfig:
    """The config, which with the identity must give the run's id."""
    with _readable(record.id, CONFIG):
        content = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    try:
        config = RunConfig.model_validate(content)
    except (ValidationError, InputError) as error:  # such as a method that is not registered here
        raise InputError(
            f"run = {record.id!r} of the file has a config that cannot be used here: {explain(error)}"
        ) from None
    if record.identity.run_id(config) != record.id:
        raise _wrong(record.id, "does not have the id that its config and identity give")
    return config


def _check_figures(record: RunRecord) -> None:
    result = record.result
    found = {"dense perplexity": result.dense_perplexity, "perplexity": result.perplexity}
    for also in result.also:
        found |= {
            f"dense perplexity on {also.evaluated_on}": also.dense,
            f"perplexity on {also.evaluated_on}": also.pruned,
        }
    for name, one in found.items():
        if not one.losses or not _agrees(one):
            raise _wrong(record.id, f"has a {name} that its windows' losses do not give")


def _agrees(found: Perplexity) -> bool:
    """Whether value and standard error are those of the windows' losses."""
    again = perplexity(found.losses, found.seqlen)
    pairs = ((found.value, again.value), (found.standard_error, again.standard_error))
    return all(_same(one, other) for one, other in pairs)


def _same(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is other
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=_SAME)


def _table(folder: Path, run_id: str, name: str) -> pd.DataFrame:
    with _readable(run_id, name):
        if pq.ParquetFile(folder / name).metadata.num_rows > _MOST_ROWS:
            raise _wrong(run_id, f"has a {name} of more than {_MOST_ROWS:,} rows")
        return pd.read_parquet(folder / name)


def _modules(folder: Path, record: RunRecord) -> dict[str, _Module]:
    if (folder / GROUPS).is_file():
        _table(folder, record.id, GROUPS)
    table = _table(folder, record.id, MODULES)
    with _readable(record.id, MODULES):
        rows = _MODULES.validate_python(table.to_dict(orient="records"))
    modules = {row.module: row for row in rows}
    result: RunResult = record.result
    if len(modules) < len(rows) or not rows:
        raise _wrong(record.id, "has a table of modules that is empty or names one twice")
    for row in rows:
        if row.parameters != row.rows * row.columns or row.sparsity != row.pruned / row.parameters:
            raise _wrong(record.id, f"has figures of module {row.module} that contradict each other")
    sums = sum(row.pruned for row in rows), sum(row.parameters for row in rows)
    if sums != (result.pruned, result.parameters):
        raise _wrong(record.id, "has a table of modules that does not add up to its figures")
    return modules


def _check_masks(folder: Path, run_id: str, modules: Mapping[str, _Module]) -> dict[str, int]:
    """Masks of the modules' shapes with as many weights kept as the table says; returns these counts."""
    with _readable(run_id, MASKS):
        masks = artifacts.read_packed(folder)
        permutations = _permutations(folder)
    if {*masks} != {name for name, module in modules.items() if not module.factored}:
        raise _wrong(run_id, "has masks of other modules than its table names")
    kept = {}
    for name, (bits, shape) in masks.items():
        module = modules[name]
        size = module.parameters
        if shape != (module.rows, module.columns) or bits.dtype != np.uint8 or bits.shape != (-(-size // 8),):
            raise _wrong(run_id, f"has a mask of module {name} that is not of the module's shape")
        kept[name] = int(np.bitwise_count(bits).sum(dtype=np.int64))
        padding = int(bits[-1]) & ((1 << (-size % 8)) - 1)
        if padding or kept[name] != size - module.pruned:
            raise _wrong(run_id, f"has a mask of module {name} that does not prune what its table says")
    for name, order in permutations.items():
        if name not in masks or not np.array_equal(np.sort(order), np.arange(modules[name].columns)):
            raise _wrong(run_id, f"has an order of the inputs of {name} that is none")
    return kept


def _permutations(folder: Path) -> dict[str, Any]:
    with safe_open(folder / MASKS, framework="numpy") as file:
        names = [name for name in file.keys() if name.startswith(artifacts.PERMUTATION)]  # noqa: SIM118
        return {name.removeprefix(artifacts.PERMUTATION): file.get_tensor(name) for name in names}


def _check_weights(folder: Path, run_id: str, modules: Mapping[str, _Module], kept: Mapping[str, int]) -> None:
    """Survivors of every updated module, as many as its mask keeps, and both factors of every factored one."""
    with _readable(run_id, WEIGHTS), safe_open(folder / WEIGHTS, framework="numpy") as file:
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        shapes = {name: tuple(part.get_shape()) for name, part in parts.items()}
        types = {part.get_dtype() for part in parts.values()}
    wanted: dict[str, tuple[int, ...]] = {}
    for name, module in modules.items():
        left, right = artifacts.left_key(name), artifacts.right_key(name)
        if module.factored:
            rank = shapes.get(left, (0, 0))[-1]
            wanted |= {left: (module.rows, rank), right: (rank, module.columns)}
        elif module.updated:
            wanted[name] = (kept[name],)
    if shapes != wanted or not types.issubset(_FLOATS):
        raise _wrong(run_id, "has weights that do not fit its masks")


def _check_texts(folder: Path, record: RunRecord, config: RunConfig) -> None:
    """The losses on each text, of which the first are those of the run's own evaluation."""
    keys = text_keys(config.evaluation, record.identity.evaluation_fingerprints)
    own = dict(zip(keys, _measured(record.result), strict=True))
    for file in sorted((folder / artifacts.EVALUATED).glob("*")):
        with _readable(record.id, f"text {file.stem}"):
            found = artifacts.read_perplexity(file)
            losses = artifacts.read_token_losses(file)
        fits = losses is None or losses.losses.shape == (found.windows, found.seqlen - 1)
        fits = fits and (losses is None or losses.tokens.shape == (found.windows, found.seqlen))
        if not found.losses or not _agrees(found) or not fits or own.get(file.stem, found) != found:
            raise _wrong(record.id, f"has losses on text {file.stem} that contradict its figures")


def _measured(result: RunResult) -> list[Perplexity]:
    return [result.perplexity, *(also.pruned for also in result.also)]
