"""Files of data sets on the Hugging Face hub: which commit is meant, and the file as it is there.

The hub is asked once a process, with little patience; what was downloaded before is used where it does not answer.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from uuid import uuid4

from core.disk import writing
from core.errors import InputError, NotFound
from core.hub import one_sentence
from core.settings import settings

_PATIENCE = 2.0  # seconds for the hub to answer; the client's own downloads would try again for minutes
_PAUSE = 20.0  # seconds without a byte, after which a download has failed


@dataclass(frozen=True)
class HubFile:
    """A file of a data set; of a large one only the first ``lines`` are downloaded (JSON lines, gzipped)."""

    repo: str
    path: str
    revision: str = "main"
    lines: int | None = None

    @property
    def cached_as(self) -> str:
        return f"{self.repo}/{self.path}".replace("/", "--")


def commit_of(file: HubFile) -> str:
    """The commit that the file's revision means; where the hub does not say, the one at which the file is here."""
    return _commit_of(file, settings().cache)


@lru_cache(maxsize=64)
def _commit_of(file: HubFile, cache: Path) -> str:
    from httpx2 import HTTPError

    try:
        return _ask(file, file.revision)
    except (HTTPError, OSError):
        for known in _known_commits(file):
            if here(file, known):
                return known
        raise


def fetched(file: HubFile, commit: str) -> Path:
    """The file at ``commit``, downloaded where it is not here yet."""
    from huggingface_hub import hf_hub_download

    if found := here(file, commit):
        return found
    _ask(file, commit)
    if file.lines is not None:
        downloaded = _download_head(file, commit)
    else:
        downloaded = Path(hf_hub_download(file.repo, file.path, repo_type="dataset", revision=commit))
    note = _note(file)
    with writing(note, "PRUNESCOPE_CACHE"):
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(commit, encoding="utf-8")
    return downloaded


def here(file: HubFile, commit: str) -> Path | None:
    """The file in the hub's cache, or its first lines in ours."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(file.repo, file.path, revision=commit, repo_type="dataset")
    if isinstance(found, str):
        return Path(found)
    head = _head(file, commit)
    return head if head.is_file() else None


def _ask(file: HubFile, revision: str) -> str:
    """The commit at which the hub has the file now."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import FileMetadataError

    url = hf_hub_url(file.repo, file.path, repo_type="dataset", revision=revision)
    commit = get_hf_file_metadata(url, timeout=_PATIENCE).commit_hash
    if commit is None:
        raise FileMetadataError(f"What answers at {url} is not a hub.")
    return commit


def _known_commits(file: HubFile) -> Iterator[str]:
    """The commit last downloaded from here, and the one that another program left in the hub's cache for the revision."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    note = _note(file)
    if note.is_file():
        yield note.read_text(encoding="utf-8")
    try:
        cached = hf_hub_download(
            file.repo, file.path, repo_type="dataset", revision=file.revision, local_files_only=True, dry_run=True
        )
    except LocalEntryNotFoundError:
        return
    yield cached.commit_hash


def _note(file: HubFile) -> Path:
    return settings().cache / "corpora" / f"{file.cached_as}.commit"


def _head(file: HubFile, commit: str) -> Path:
    return settings().cache / "corpora" / f"{commit}-{file.lines}-{file.cached_as}"


def _download_head(file: HubFile, commit: str) -> Path:
    """Reads the hub's file as a stream, keeps its first lines, and stops."""
    import httpx2
    from huggingface_hub import get_session, hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # public, yet not re-exported

    url = hf_hub_url(file.repo, file.path, repo_type="dataset", revision=commit)
    headers = build_hf_headers() | {"Accept-Encoding": "identity"}
    timeout = httpx2.Timeout(_PAUSE, connect=_PATIENCE)
    head = _head(file, commit)
    unfinished = head.with_name(f"{uuid4().hex}.unfinished")
    with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
        response.raise_for_status()
        with writing(head, "PRUNESCOPE_CACHE"):
            head.parent.mkdir(parents=True, exist_ok=True)
            try:
                with gzip.open(_Chunks(response.iter_raw())) as lines, gzip.open(unfinished, "wb", 1) as kept:
                    kept.writelines(islice(lines, file.lines))
                unfinished.replace(head)
            finally:
                unfinished.unlink(missing_ok=True)
    return head


class _Chunks(io.RawIOBase):
    """Pieces of bytes as they arrive, as a file that can be read once."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while not self._rest:
            if (chunk := next(self._chunks, None)) is None:
                return 0
            self._rest = chunk
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


@contextmanager
def told(file: HubFile, corpus: str, instead: str) -> Iterator[None]:
    """Raises InputError, one sentence about ``corpus``, where ``file`` cannot be had; ``instead``: what the user can do."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    with one_sentence("corpus", corpus, file.revision, instead):
        try:
            yield
        except (GatedRepoError, LocalEntryNotFoundError):
            raise
        except (RepositoryNotFoundError, RevisionNotFoundError, EntryNotFoundError):
            raise NotFound(
                f"corpus = {corpus!r} is not on the hub any more as {file.path} of {file.repo} ({file.revision}); {instead}."
            ) from None
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise InputError(
                f"corpus = {corpus!r}: the hub's {file.path} is not a whole gzip file ({error}); {instead}."
            ) from None
