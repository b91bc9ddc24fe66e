"""What measurements left in a store beside the runs: listed with its size, and forgotten when it is not wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from core.evaluated import dense_subject, text_keys
from core.measured import measured_key
from core.status import Status
from core.store import MeasurementRecord, Run, Store
from core.store.artifacts import evaluated_file


class Kept(NamedTuple):
    """Something that was measured, where it is kept, and since when (seconds since 1970)."""

    name: str
    bytes: int
    since: float
    status: Status = "finished"
    measurement: str | None = None
    """Its id, where it was asked for by itself rather than measured on the way by a run."""
    facts: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


def kept(store: Store, runs: Sequence[Run]) -> list[Kept]:
    """All measurements, and what ``runs`` measured of dense models on their way; the latest first."""
    found = [_measured(record, store) for record in store.measurements()]
    facts, files = {key for one in found for key in one.facts}, {file for one in found for file in one.files}
    found += [*_bases(store, runs, facts), *_dense_texts(store, runs, files)]
    return sorted(found, key=lambda one: -one.since)


def forget(store: Store, what: Kept) -> None:
    """Removes it; it is measured again when something needs it."""
    for file in what.files:
        file.unlink(missing_ok=True)
    store.forget(what.facts)
    if what.measurement is not None:
        store.delete(what.measurement)


def folder_size(folder: Path) -> int:
    """Bytes of all files below ``folder``; 0 where there is none."""
    return _size(path for path in folder.rglob("*") if path.is_file())


def _size(files: Iterator[Path] | Collection[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def _measured(record: MeasurementRecord, store: Store) -> Kept:
    measurement = record.measurement
    facts = store.fact_sizes(measurement.facts())
    files = tuple(file for file in measurement.files(store) if file.is_file())
    size = folder_size(store.folder(record.id)) + _size(files) + sum(size for size, _ in facts.values())
    since = record.attempt.submitted_at
    return Kept(record.name, size, since, record.attempt.status, record.id, tuple(facts), files)


def _bases(store: Store, runs: Sequence[Run], listed: Collection[str]) -> Iterator[Kept]:
    """What the allocations of runs rest on."""
    keys = {
        measured_key(run.config, run.identity): f"{run.config.allocation.title}: {run.config.model.label}"
        for run in runs
        if run.config.allocation.measures is not None
    }
    for key, (size, since) in store.fact_sizes([key for key in keys if key not in listed]).items():
        yield Kept(keys[key], size, since, facts=(key,))


def _dense_texts(store: Store, runs: Sequence[Run], listed: Collection[Path]) -> Iterator[Kept]:
    """The losses of dense models on the texts of runs."""
    names: dict[Path, str] = {}
    for run in runs:
        if run.result is None:
            continue
        folder = store.folder(dense_subject(run.config.model, run.identity.model_revision))
        texts = [run.result.evaluated_on, *(also.evaluated_on for also in run.result.also)]
        for key, text in zip(
            text_keys(run.config.evaluation, run.identity.evaluation_fingerprints), texts, strict=True
        ):
            names[evaluated_file(folder, key)] = f"Perplexity: {run.config.model.label}, dense, on {text}"
    for file, name in names.items():
        if file not in listed and file.is_file():
            stat = file.stat()
            yield Kept(name, stat.st_size, stat.st_mtime, files=(file,))
