"""Zero-shot tasks: which, on how many documents, from where; and whether this installation can ask them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, field_validator

from core.errors import NotFound
from core.evaluation.task_data import task_data, tasks_in
from core.evaluation.tasks import TASKS, TaskName
from core.registry import ADVANCED
from core.settings import settings

_PACKAGE = "lm_eval"


def why_not() -> str | None:
    """One sentence how to get what zero-shot tasks need; None where it is installed."""
    try:
        version(_PACKAGE)
    except PackageNotFoundError:
        return f"Zero-shot tasks need the package {_PACKAGE}; pip install -r requirements-zeroshot.txt brings it."
    return None


def harness_version() -> str:
    """The installed harness's version. Raises NotFound where it is not installed."""
    if reason := why_not():
        raise NotFound(reason)
    return version(_PACKAGE)


class TaskChoice(BaseModel, frozen=True, extra="forbid"):
    """Which tasks are asked, and what of them."""

    tasks: tuple[TaskName, ...] = Field(
        (), title="Tasks", description=f"Of {', '.join(TASKS)}. None: all, or all that the folder has a file of."
    )
    limit: int | None = Field(
        100, ge=1, title="Documents", description="The first so many documents of each task; 0: all of them."
    )
    folder: str = Field(
        "",
        title="Folder",
        description="A folder with files <task>.jsonl or <task>.parquet. Empty: PRUNESCOPE_TASKS, or else the Hugging Face hub.",
    )
    batch_size: int = Field(
        4, ge=1, le=1024, title="Batch size", description="Answers scored at once.", json_schema_extra=ADVANCED
    )

    @field_validator("limit", mode="before")
    @classmethod
    def _none_is_all(cls, limit: Any) -> Any:
        return None if limit in (0, "0", "all") else limit

    def resolved(self) -> TaskChoice:
        """With the folder (empty: the hub) and the tasks that are meant. Raises NotFound where there is nothing to ask."""
        folder = self.folder or settings().tasks
        if not folder:
            return self._with(self.tasks or tuple(TASKS), "")
        # A worker, or a later session, may stand in another folder.
        place = Path(folder).expanduser().absolute()
        if not place.is_dir():
            raise NotFound(f"folder = {str(folder)!r} does not exist; name one that holds files such as boolq.jsonl.")
        if tasks := self.tasks or tasks_in(place):
            return self._with(tasks, str(place))
        raise NotFound(f"folder = {str(folder)!r} has no file of any task; they are named such as boolq.jsonl.")

    def _with(self, tasks: tuple[TaskName, ...], folder: str) -> TaskChoice:
        return self.model_copy(update={"tasks": tuple(name for name in TASKS if name in tasks), "folder": folder})

    def fingerprints(self) -> dict[TaskName, str]:
        """What the documents of each task are now.

        Raises InputError, before any model is loaded: a file that is missing or not of its task; a hub that cannot be reached.
        """
        found = {}
        for name in self.tasks:
            data = task_data(name, self.folder)
            data.check()
            found[name] = data.fingerprint()
        return found
