"""A local text file as a corpus."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from core.data.corpus import Corpus, Purpose
from core.errors import InputError, NotFound


class TextFile(Corpus):
    """A UTF-8 text file, all of it for either purpose."""

    name: ClassVar[str] = "text"
    title: ClassVar[str] = "Local text file"

    path: str = Field(
        "", title="Text file", description="Path of a UTF-8 text file on the machine that runs this program."
    )

    @property
    def label(self) -> str:
        return Path(self.path).name

    def fingerprint(self) -> str:
        return hashlib.sha256(self._read().encode()).hexdigest()[:16]

    def text(self, purpose: Purpose) -> str:
        return self._read()

    def _read(self) -> str:
        file = Path(self.path).expanduser()
        if not self.path or not file.is_file():
            raise NotFound(f"text = {self.path!r} is not a file; give the path of a text file.")
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(
                f"text = {self.path!r} is not UTF-8 (byte {error.start} cannot be read); convert it to UTF-8."
            ) from None
        if not text.strip():
            raise InputError(f"text = {self.path!r} is empty; give a file with text.")
        return text
