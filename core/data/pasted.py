"""A pasted text as a corpus."""

from __future__ import annotations

import hashlib
from typing import ClassVar

from pydantic import Field

from core.data.corpus import Corpus, Purpose
from core.errors import InputError
from core.registry import LONG_TEXT


class PastedText(Corpus):
    """A text that is part of the run's config itself, all of it for either purpose."""

    name: ClassVar[str] = "pasted"
    title: ClassVar[str] = "Pasted text"

    content: str = Field(
        "", title="Text", description="The text itself; it is kept with the run.", json_schema_extra=LONG_TEXT
    )

    def label(self, purpose: Purpose) -> str:
        return "Pasted text"

    def fingerprint(self, purpose: Purpose) -> str:
        return hashlib.sha256(self.text(purpose).encode()).hexdigest()[:16]

    def text(self, purpose: Purpose) -> str:
        if not self.content.strip():
            raise InputError("pasted = '' is empty; paste a text.")
        return self.content
