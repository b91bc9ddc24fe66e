"""Whose figures a command is about: a run of the store, or a dense model."""

from __future__ import annotations

from typing import Any, TypeVar

from core.cli.options import MODEL_OPTIONS, config_values
from core.errors import InputError
from core.measurements.base import OfWeights
from core.models.sources import parse_source
from core.store import Run, Store

M = TypeVar("M", bound=OfWeights)


def chosen_run(run_id: str | None, store: Store, given: dict[str, Any]) -> Run | None:
    """The run that ``--run`` names; None where it was not given. Raises InputError beside a model's options."""
    if run_id is None:
        return None
    for name in MODEL_OPTIONS:
        if given.get(name) is not None:
            raise InputError(
                f"--run says which model it is, and how it is loaded; leave --{name.replace('_', '-')} out."
            )
    return store.run(run_id)


def dense_and_pruned(kind: type[M], run: Run | None, given: dict[str, Any], **wanted: Any) -> dict[str, M]:
    """The measurement of the run's dense model and of the run; of the model that the options describe, where there is none.

    Raises InputError where the run has not finished.
    """
    if run is not None:
        pruned = kind.of_run(run, **wanted)
        return {"dense": pruned.model_copy(update={"run": None, "attempt": None}), "pruned": pruned}
    values = config_values(given)
    source = parse_source(values["model"], **values["model_options"])
    return {"dense": kind(model=source, revision=source.revision_key(), **wanted)}
