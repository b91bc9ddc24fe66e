"""A local text file as a corpus."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from core.data.corpus import Purpose
from core.data.files import FileCorpus, Stamp, stamp
from core.errors import InputError


class TextFile(FileCorpus):
    """A UTF-8 text file, all of it for either purpose."""

    name: ClassVar[str] = "text"
    title: ClassVar[str] = "Local text file"
    suffixes: ClassVar[tuple[str, ...]] = (".txt",)
    wanted: ClassVar[str] = "text file"

    def fingerprint(self, purpose: Purpose) -> str:
        return _digest(self, stamp(self.file))

    def text(self, purpose: Purpose) -> str:
        return _read(self.file)


@lru_cache(maxsize=64)
def _digest(corpus: TextFile, stamp: Stamp) -> str:
    return hashlib.sha256(_read(corpus.file).encode()).hexdigest()[:16]


def _read(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"text = {str(file)!r} is not UTF-8 (byte {error.start} cannot be read); convert it to UTF-8."
        ) from None
    if not text.strip():
        raise InputError(f"text = {str(file)!r} is empty; give a file with text.")
    return text
