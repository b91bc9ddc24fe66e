"""A local file of documents as a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import ClassVar

from pydantic import Field

from core.data.corpus import Purpose
from core.data.documents import JSON_LINES, PARQUET, read_documents
from core.data.files import FileCorpus, Stamp, digest, stamp


class DocumentFile(FileCorpus):
    """Documents in a JSON lines or parquet file, joined by blank lines; all of them for either purpose."""

    name: ClassVar[str] = "documents"
    title: ClassVar[str] = "Local JSON lines or parquet file"
    suffixes: ClassVar[tuple[str, ...]] = (*JSON_LINES, *PARQUET)
    wanted: ClassVar[str] = "JSON lines or parquet file"

    field: str = Field("text", title="Field", description="The field that holds each document's text.")

    def fingerprint(self, purpose: Purpose) -> str:
        return _checked_digest(self, stamp(self.file))

    def text(self, purpose: Purpose) -> str:
        return "\n\n".join(self.documents(purpose))

    def documents(self, purpose: Purpose) -> list[str]:
        return list(self._read())

    def _read(self) -> Iterator[str]:
        return read_documents(self.file, self.field, f"{self.name} = {self.path!r}")


@lru_cache(maxsize=64)
def _checked_digest(corpus: DocumentFile, stamp: Stamp) -> str:
    """The content's hash, once the first document can be read: what follows is found out when it is needed."""
    next(corpus._read())
    return digest(corpus.file)
