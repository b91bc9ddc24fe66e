"""What the file holds: a list of its files with their hashes, and for each run its record and its artifacts."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import BaseModel, Field

from core.store.artifacts import CONFIG, EVALUATED, GROUPS, MASKS, MODULES, WEIGHTS
from core.version import __version__

FORMAT: Final = "prunescope runs"
VERSION = 1
MANIFEST, RECORD = "prunescope.json", "run.json"
SUFFIX = ".zip"
NEEDED = (RECORD, CONFIG, MASKS, MODULES)
"""Of every run."""

_NAME = re.compile(
    rf"(?P<run>[0-9a-f]{{16}})/(?P<file>{'|'.join(map(re.escape, (*NEEDED, GROUPS, WEIGHTS)))}"
    rf"|{EVALUATED}/[0-9a-f]{{16}}\.safetensors)"
)


class FileEntry(BaseModel, frozen=True, extra="forbid"):
    """A file in the zip, as it was when it was written."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel, frozen=True, extra="forbid"):
    """What the zip holds, by name; nothing else may be in it."""

    format: Literal["prunescope runs"] = FORMAT
    version: int = VERSION
    program: str = __version__
    files: dict[str, FileEntry]


def parts_of(name: str) -> tuple[str, str] | None:
    """The run and the file that a name in the zip stands for; None for a name that such a file never has."""
    found = _NAME.fullmatch(name)
    return (found["run"], found["file"]) if found else None
