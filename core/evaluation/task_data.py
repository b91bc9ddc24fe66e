"""Where the documents of a zero-shot task come from: a local file, or the data set that the harness names."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core.errors import InputError, NotFound
from core.evaluation.tasks import TASKS, Document, Task, TaskName
from core.hub import PATIENCE

_SUFFIXES = (".jsonl", ".parquet")
_SPLIT = "local"


def tasks_in(folder: Path) -> tuple[TaskName, ...]:
    """The tasks that ``folder`` has a file of."""
    return tuple(name for name in TASKS if _file_in(folder, name))


def task_data(name: TaskName, folder: str) -> LocalFile | HubDataSet:
    """The documents of a task: of its file in ``folder``, or (empty) of the hub. Raises NotFound where there is no file."""
    if not folder:
        return HubDataSet(TASKS[name])
    if file := _file_in(Path(folder), name):
        return LocalFile(TASKS[name], file)
    raise NotFound(
        f"tasks = {name}: {folder} holds neither {' nor '.join(name + suffix for suffix in _SUFFIXES)}; "
        "add the file, leave the task out, or name no folder to read it from the Hugging Face hub."
    )


def _file_in(folder: Path, name: TaskName) -> Path | None:
    return next((file for suffix in _SUFFIXES if (file := folder / (name + suffix)).is_file()), None)


@dataclass(frozen=True)
class LocalFile:
    """A file with one document a row, its fields named as in the Hugging Face data set."""

    task: Task
    file: Path

    @property
    def label(self) -> str:
        return str(self.file)

    def fingerprint(self) -> str:
        """Of the file's content."""
        return hashlib.sha256(self._content()).hexdigest()[:16]

    def check(self) -> None:
        """Raises InputError, naming file, line and field, where a document is not one of this task."""
        self._documents()

    def load(self, fingerprint: str) -> Any:
        """The harness's task, only its documents being those of the file. Raises InputError as ``check`` does."""
        from datasets import Dataset

        from core.evaluation.harness import load_task

        documents = Dataset.from_list([document.model_dump() for document in self._documents()])
        none = dict.fromkeys(("training_split", "validation_split", "fewshot_split"))
        return load_task(self.task, {"custom_dataset": lambda **_: {_SPLIT: documents}, "test_split": _SPLIT, **none})

    def _documents(self) -> list[Document]:
        documents = [self._document(place, row) for place, row in self._rows()]
        if not documents:
            raise InputError(f"{self.file} is empty; give a file with documents of {self.task.title}.")
        return documents

    def _document(self, place: str, row: Any) -> Document:
        if not isinstance(row, dict):
            raise InputError(f"{self.file}, {place}, is not a JSON object with the fields of {self.task.title}.")
        try:
            return self.task.document.model_validate(row)
        except ValidationError as error:
            raise InputError(f"{self.file}, {place}, is no document of {self.task.title}: {_problem(error)}") from None

    def _rows(self) -> Iterator[tuple[str, Any]]:
        """Every row, and what a person calls its place."""
        if self.file.suffix == ".parquet":
            for number, row in enumerate(self._table(), start=1):
                yield f"row {number}", row
            return
        try:
            lines = self._content().decode("utf-8-sig").split("\n")
        except UnicodeDecodeError as error:
            raise InputError(
                f"{self.file} is not UTF-8 (byte {error.start} cannot be read); convert it to UTF-8."
            ) from None
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    yield f"line {number}", json.loads(line)
                except ValueError as error:
                    raise InputError(f"{self.file}, line {number}, is not JSON ({error}).") from None

    def _table(self) -> list[dict[str, Any]]:
        from pyarrow import ArrowInvalid, BufferReader, parquet

        try:
            rows: list[dict[str, Any]] = parquet.read_table(BufferReader(self._content())).to_pylist()
        except ArrowInvalid as error:
            raise InputError(f"{self.file} is not a parquet file ({error}).") from None
        return rows

    def _content(self) -> bytes:
        try:
            return self.file.read_bytes()
        except OSError as error:
            raise InputError(f"{self.file} cannot be read ({error.strerror}).") from error


def _problem(error: ValidationError) -> str:
    """The first thing that is wrong."""
    first = error.errors()[0]
    field = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"the field {field} is missing."
    if first["type"] == "value_error":  # ours: already a sentence
        return str(first["msg"]).removeprefix("Value error, ")
    return f"{field} = {reprlib.repr(first['input'])} is not valid: {first['msg']}."


@dataclass(frozen=True)
class HubDataSet:
    """The data set that the harness itself reads, at the commit it has now."""

    task: Task

    @property
    def label(self) -> str:
        return self.task.data_set

    def fingerprint(self) -> str:
        """The commit. Raises InputError at once where the hub does not answer: what is cached may be of another commit."""
        from httpx2 import HTTPError
        from huggingface_hub import HfApi

        try:
            commit = HfApi().dataset_info(self.label, timeout=PATIENCE).sha
        except (HTTPError, OSError) as error:
            raise self._unreadable(error) from error
        assert commit is not None
        return commit

    def check(self) -> None:
        """Nothing to check: the harness's prompts were written for this data set."""

    def load(self, fingerprint: str) -> Any:
        """The harness's task with the documents of this commit. Raises InputError where they cannot be had."""
        from datasets.exceptions import DatasetsError
        from httpx2 import HTTPError

        from core.evaluation.harness import load_task

        try:
            return load_task(self.task, {"dataset_kwargs": {"revision": fingerprint}})
        # The last two: a configuration that is gone, a data set that is a program now.
        except (HTTPError, OSError, DatasetsError, ValueError, RuntimeError) as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> InputError:
        files = " or ".join(self.task.name + suffix for suffix in _SUFFIXES)
        return InputError(
            f"tasks = {self.task.name}: the data set {self.label} cannot be read ({_why(error)}); check the connection, "
            f"or name a folder with {files} (--data, or PRUNESCOPE_TASKS)."
        )


def _why(error: Exception) -> str:
    from httpx2 import TransportError
    from huggingface_hub.errors import OfflineModeIsEnabled

    if (response := getattr(error, "response", None)) is not None:
        return f"the hub answers {response.status_code}"
    if isinstance(error, TransportError | ConnectionError):
        return "HF_HUB_OFFLINE is set" if isinstance(error, OfflineModeIsEnabled) else "the hub does not answer"
    return str(error).strip().split("\n")[0].rstrip(".")
