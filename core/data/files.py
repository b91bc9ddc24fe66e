"""Files as corpora: where they are, and what tells that their content changed."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from core.data.corpus import Corpus, Purpose
from core.errors import NotFound

Stamp = tuple[int, int, int]


class FileCorpus(Corpus):
    """A file on the machine that runs this program, all of it for either purpose."""

    wanted: ClassVar[str]
    """What kind of file it is, for errors."""

    path: str = Field("", title="File", description="Path of a file on the machine that runs this program.")

    @field_validator("path")
    @classmethod
    def _absolute(cls, path: str) -> str:
        """A worker, or a later session, may stand in another folder."""
        return str(Path(path).expanduser().absolute()) if path else path

    def label(self, purpose: Purpose) -> str:
        return Path(self.path).name

    @property
    def file(self) -> Path:
        """The file. Raises NotFound where there is none."""
        file = Path(self.path)
        if not self.path or not file.is_file():
            raise NotFound(f"{self.name} = {self.path!r} is not a file; give the path of a {self.wanted}.")
        return file


def stamp(file: Path) -> Stamp:
    """Changes when a file is written again: what was made of its content can be kept by it."""
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def digest(file: Path) -> str:
    """The hash of a file's content; read again only after it was written."""
    return _digest(file, stamp(file))


@lru_cache(maxsize=64)
def _digest(file: Path, stamp: Stamp) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]
