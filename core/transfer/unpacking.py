"""Takes the files out of a zip that may come from anywhere: only names it may have, only what its list says."""

from __future__ import annotations

import hashlib
import json
import zipfile
from io import BufferedReader, BytesIO
from pathlib import Path

from pydantic import ValidationError

from core.disk import writing
from core.errors import InputError, explain
from core.transfer.content import FORMAT, MANIFEST, NEEDED, RECORD, VERSION, FileEntry, Manifest, parts_of
from core.transfer.writing import CHUNK

_LARGEST_JSON = 1 << 26
"""Bytes; the record of a run over a million evaluation windows has fewer."""


def unpack(file: BytesIO | BufferedReader, name: str, folder: Path) -> list[str]:
    """Unpacks ``file`` (called ``name``) to ``folder``, a folder a run; returns the runs' ids.

    Raises InputError, in one sentence, for what is not such a file or is damaged.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            manifest = _manifest(archive, name)
            runs = _runs(archive, manifest, name)
            for member, entry in manifest.files.items():
                _extract(archive, member, entry, folder / member, name)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        # RuntimeError and NotImplementedError: encrypted, or packed in a way that nothing here writes.
        raise InputError(
            f"file = {name!r} cannot be read ({explain(error)}); choose one written by runs export."
        ) from None
    return runs


def _manifest(archive: zipfile.ZipFile, name: str) -> Manifest:
    names = archive.namelist()
    if MANIFEST not in names:
        raise InputError(f"file = {name!r} holds no runs of this program; choose one written by runs export.")
    text = _limited(archive, MANIFEST, name)
    try:
        manifest = Manifest.model_validate_json(text)
    except ValidationError as error:
        version = _version(text)
        if version > VERSION:
            raise InputError(_newer(name)) from None
        raise InputError(f"file = {name!r} is not a list of {FORMAT}: {explain(error)}") from None
    if manifest.version > VERSION:
        raise InputError(_newer(name))
    return manifest


def _version(text: bytes) -> int:
    """The version a list claims that otherwise cannot be read; 0 where it claims none."""
    try:
        claimed = json.loads(text)
    except ValueError:
        return 0
    version = claimed.get("version") if isinstance(claimed, dict) else None
    return version if isinstance(version, int) else 0


def _newer(name: str) -> str:
    return f"file = {name!r} was written by a newer version of this program; update it."


def _runs(archive: zipfile.ZipFile, manifest: Manifest, name: str) -> list[str]:
    """The runs' ids, once it is sure that the zip holds what its list says, whole runs, and nothing else."""
    names = archive.namelist()
    if len(set(names)) < len(names) or {*names} != {*manifest.files, MANIFEST}:
        raise InputError(f"file = {name!r} does not hold what its list says; export the runs again.")
    runs: dict[str, set[str]] = {}
    for member in manifest.files:
        parts = parts_of(member)
        if parts is None:
            raise InputError(f"file = {name!r} holds {member!r}, which is no part of a run; choose another file.")
        runs.setdefault(parts[0], set()).add(parts[1])
    for run_id, files in runs.items():
        if missing := [file for file in NEEDED if file not in files]:
            raise InputError(f"file = {name!r} has no {missing[0]} of run {run_id}; export the run again.")
    if not runs:
        raise InputError(f"file = {name!r} holds no run; choose another file.")
    return list(runs)


def _limited(archive: zipfile.ZipFile, member: str, name: str) -> bytes:
    with archive.open(member) as source:
        content = source.read(_LARGEST_JSON + 1)
    if len(content) > _LARGEST_JSON:
        raise InputError(f"file = {name!r}: {member} is too long to be what it should be; choose another file.")
    return content


def _extract(archive: zipfile.ZipFile, member: str, entry: FileEntry, target: Path, name: str) -> None:
    """Writes a file of the zip, no more of it than the list announces, and checks that it is the one listed."""
    if target.name == RECORD and entry.bytes > _LARGEST_JSON:
        raise InputError(f"file = {name!r}: {member} is too long to be what it should be; choose another file.")
    digest, left = hashlib.sha256(), entry.bytes
    with writing(target, "PRUNESCOPE_HOME"):
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(member) as source, target.open("wb") as file:
            while chunk := source.read(min(CHUNK, left + 1)):
                left -= len(chunk)
                if left < 0:
                    break
                digest.update(chunk)
                file.write(chunk)
    if left or digest.hexdigest() != entry.sha256:
        raise InputError(f"file = {name!r}: {member} is not as it was written; copy or export it again.")
