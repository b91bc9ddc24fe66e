"""Writes finished runs into one file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from io import BufferedWriter, BytesIO
from pathlib import Path

from core.errors import InputError
from core.store import Run, Store
from core.store.artifacts import WEIGHTS
from core.transfer.content import MANIFEST, RECORD, FileEntry, Manifest, parts_of

CHUNK = 1 << 20


def export_runs(store: Store, run_ids: Sequence[str], out: BytesIO | BufferedWriter, weights: bool = True) -> None:
    """Writes config, identity, result, tables, masks and measured texts of each run, and its kept weights unless told not to.

    Raises NotFound for no such run; InputError for one that has not finished, or is repeated meanwhile.
    """
    entries: dict[str, FileEntry] = {}
    with zipfile.ZipFile(out, "w") as archive:
        for run in _finished(store, run_ids):
            record = store.record_of(run).model_dump_json(indent=2).encode()
            entries[f"{run.id}/{RECORD}"] = _add(archive, f"{run.id}/{RECORD}", [record])
            for name, path in _files(store, run, weights).items():
                entries[name] = _add(archive, name, _chunks(path))
            if store.run(run.id).finished_attempt != run.finished_attempt:
                raise InputError(f"run = {run.id!r} was repeated while it was written; export it again.")
        _add(archive, MANIFEST, [Manifest(files=entries).model_dump_json(indent=2).encode()])


def export_size(store: Store, runs: Iterable[Run], weights: bool = True) -> int:
    """About how many bytes the file will have."""
    return sum(path.stat().st_size for run in runs for path in _files(store, run, weights).values())


def _finished(store: Store, run_ids: Sequence[str]) -> list[Run]:
    runs = [store.run(run_id) for run_id in dict.fromkeys(run_ids)]
    for run in runs:
        if run.result is None:
            raise InputError(
                f"run = {run.id!r} has not finished, so there is nothing to export; repeat it or leave it out."
            )
    return runs


def _files(store: Store, run: Run, weights: bool) -> dict[str, Path]:
    """By its name in the zip: what of the run's folder belongs to it; not what is half written there."""
    folder = store.folder(run.id)
    found = {f"{run.id}/{path.relative_to(folder).as_posix()}": path for path in sorted(folder.rglob("*"))}
    return {
        name: path
        for name, path in found.items()
        if path.is_file() and parts_of(name) and (weights or path.name != WEIGHTS)
    }


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _add(archive: zipfile.ZipFile, name: str, chunks: Iterable[bytes]) -> FileEntry:
    """Masks and weights hardly get smaller, so only JSON is compressed."""
    info = zipfile.ZipInfo(name)
    info.compress_type = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
    digest, size = hashlib.sha256(), 0
    with archive.open(info, "w", force_zip64=True) as file:
        for chunk in chunks:
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return FileEntry(bytes=size, sha256=digest.hexdigest())
