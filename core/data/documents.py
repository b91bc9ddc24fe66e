"""Documents out of JSON lines and parquet files, one after the other; what is wrong with a file is one sentence."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from core.errors import InputError

JSON_LINES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
PARQUET = (".parquet",)


def read_documents(file: Path, field: str, subject: str) -> Iterator[str]:
    """What stands in ``field`` of every row of a parquet file, or line of a JSON lines file (gzipped if it ends so).

    The file is read as far as documents are taken. Raises InputError, which begins with ``subject``; also where there is
    no text at all.
    """
    reader = _parquet if file.name.endswith(PARQUET) else _json_lines
    empty = True
    for document in reader(file, field, subject):
        yield document
        empty = empty and not document.strip()
    if empty:
        raise InputError(f"{subject} is empty; give a file with text.")


def _json_lines(file: Path, field: str, subject: str) -> Iterator[str]:
    opened: Any = gzip.open if file.suffix == ".gz" else open
    try:
        with opened(file, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _text(_row(line, f"line {number}", field, subject), field, f"line {number}", subject)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{subject} is not a whole gzip file ({error}); get it again.") from None


def _row(line: bytes, place: str, field: str, subject: str) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{subject} is not UTF-8 (byte {error.start} of {place} cannot be read); convert it to UTF-8."
        ) from None
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise InputError(f"{subject} has no JSON object in {place}; every line must be one, with a field {field!r}.")
    return row


def _parquet(file: Path, field: str, subject: str) -> Iterator[str]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(file) as table:
            if field not in table.schema_arrow.names:
                raise _no_field(field, table.schema_arrow.names, subject)
            rows = (row for batch in table.iter_batches(1024, columns=[field]) for row in batch.to_pylist())
            for number, row in enumerate(rows, start=1):
                yield _text(row, field, f"row {number}", subject)
    except pyarrow.ArrowException as error:
        raise InputError(f"{subject} cannot be read as parquet ({error}); get it again.") from None


def _text(row: dict[str, Any], field: str, place: str, subject: str) -> str:
    if field not in row:
        raise _no_field(field, row, f"{subject}, {place},")
    text = row[field]
    if not isinstance(text, str):
        raise InputError(f"{subject} has no text in the field {field!r} of {place}, but {text!r:.60}; choose another.")
    return text


def _no_field(field: str, known: Iterable[str], subject: str) -> InputError:
    return InputError(f"{subject} has no field {field!r}; its fields are {', '.join(known) or 'none'}.")
