"""Takes the runs of a file into a store: all of them, or none where one is not good."""

from __future__ import annotations

from io import BufferedReader, BytesIO

from pydantic import BaseModel

from core.store import Store
from core.transfer.checking import checked
from core.transfer.content import RECORD
from core.transfer.unpacking import unpack


class Imported(BaseModel, frozen=True):
    """What became of the runs of a file, by id."""

    new: tuple[str, ...]
    kept: tuple[str, ...]
    """Finished here already; these stay as they are."""


def import_runs(store: Store, file: BytesIO | BufferedReader, name: str) -> Imported:
    """Adds the runs of ``file``, which is called ``name``; a run that has finished here is left as it is.

    Raises InputError, in one sentence and with nothing added, where the file is not one that ``export_runs`` wrote, is
    damaged, or contradicts itself; or where a run of it is under way here.
    """
    with store.workspace() as folder:
        runs = [checked(folder / run_id) for run_id in unpack(file, name, folder)]
        store.check_idle([run.record.id for run in runs])
        new: list[str] = []
        kept: list[str] = []
        for run in runs:
            (run.folder / RECORD).unlink()
            taken = store.take_in(run.record, run.config, run.folder)
            (new if taken else kept).append(run.record.id)
    return Imported(new=tuple(new), kept=tuple(kept))
