"""A corpus of the Hugging Face hub, or the local copy of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar, Self

from pydantic import PrivateAttr

from core.data import hub
from core.data.corpus import Corpus, Purpose
from core.data.documents import JSON_LINES, PARQUET, read_documents
from core.data.files import digest
from core.data.hub import HubFile
from core.errors import InputError, NotFound
from core.settings import settings


@dataclass(frozen=True)
class Part:
    """What serves one purpose: the file on the hub (or its first lines), the split's name, the field, how documents are joined."""

    file: HubFile
    split: str
    join: str
    field: str = "text"


class HubCorpus(Corpus):
    """Reads ``<PRUNESCOPE_CORPORA>/<name>/<split>.jsonl`` (.jsonl.gz, .parquet …) where there is such a file, else the hub."""

    summary: ClassVar[str]
    parts: ClassVar[Mapping[Purpose, Part]]

    _fixed: str | None = PrivateAttr(None)
    """The fingerprint that it is pinned to."""

    def label(self, purpose: Purpose) -> str:
        place = ", local copy" if self._local_copy(purpose) else ""
        return f"{self.title} ({self.parts[purpose].split}{place})"

    def fingerprint(self, purpose: Purpose) -> str:
        """The local copy's content, or the data set with its commit; either with the version of how it is read."""
        if copy := self._local_copy(purpose):
            next(read_documents(copy, self.parts[purpose].field, self._subject(f"local copy {copy}")))
            return f"local copy {digest(copy)}, reading {self.version}"
        part = self.parts[purpose]
        return f"{part.file.repo}@{self._commit(purpose)}, reading {self.version}"

    def text(self, purpose: Purpose) -> str:
        return self.parts[purpose].join.join(self.documents(purpose))

    def documents(self, purpose: Purpose) -> list[str]:
        if self._fixed and self.fingerprint(purpose) != self._fixed:
            raise InputError(f"{self._subject()} has changed since the run was submitted; start it again.")
        part = self.parts[purpose]
        if file := self._local_copy(purpose):
            subject = self._subject(f"local copy {file}")
        else:
            commit = self._commit(purpose)
            with hub.told(part.file, self.name, self._instead(purpose)):
                file = hub.fetched(part.file, commit)
            subject = self._subject(f"{part.file.path} of {part.file.repo}")
        return list(islice(read_documents(file, part.field, subject), part.file.lines))

    def to_download(self, purpose: Purpose) -> str | None:
        here = self._local_copy(purpose) or hub.here(self.parts[purpose].file, self._commit(purpose))
        return None if here else self.label(purpose)

    def pinned(self, fingerprint: str) -> Self:
        copy = self.model_copy()
        copy._fixed = fingerprint
        return copy

    def _commit(self, purpose: Purpose) -> str:
        if commit := self._fixed_commit():
            return commit
        file = self.parts[purpose].file
        with hub.told(file, self.name, self._instead(purpose)):
            return hub.commit_of(file)

    def _fixed_commit(self) -> str | None:
        return self._fixed.partition("@")[2].partition(",")[0] if self._fixed else None

    def _local_copy(self, purpose: Purpose) -> Path | None:
        if settings().corpora is None or self._fixed_commit():
            return None
        folder, split = _corpora() / self.name, self.parts[purpose].split
        found = [file for suffix in (*JSON_LINES, *PARQUET) if (file := folder / f"{split}{suffix}").is_file()]
        if len(found) > 1:
            raise InputError(f"{self._subject()} has two local copies, {found[0]} and {found[1]}; remove one of them.")
        return found[0] if found else None

    def _subject(self, place: str | None = None) -> str:
        return f"corpus = {self.name!r}" + (f" ({place})" if place else "")

    def _instead(self, purpose: Purpose) -> str:
        """What helps where the hub does not."""
        copy = f"{self.name}/{self.parts[purpose].split}.jsonl"
        place = (
            f"as {_corpora() / copy}"
            if settings().corpora
            else f"as {copy} into a folder that PRUNESCOPE_CORPORA names"
        )
        return f"put a local copy {place}, or choose the embedded corpus or a file of your own"


def _corpora() -> Path:
    folder = settings().corpora
    assert folder is not None
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise NotFound(f"PRUNESCOPE_CORPORA = {str(folder)!r} is not a folder; create it, or unset the variable.")
    return folder
