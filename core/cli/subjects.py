"""What a command is about: a config, a run of the store, or a dense model."""

from __future__ import annotations

from typing import Any, TypeVar

from core.api import make_config
from core.cli.options import MODEL_OPTIONS, config_values
from core.config import RunConfig
from core.errors import InputError
from core.measurements.of_model import OfModel
from core.models.sources import ModelSource, parse_source
from core.store import Run, Store

M = TypeVar("M", bound=OfModel)


def chosen_run(run_id: str | None, store: Store, given: dict[str, Any]) -> Run | None:
    """The finished run that ``--run`` names; None where it was not given. Raises InputError beside a model's options."""
    if run_id is None:
        return None
    for name in MODEL_OPTIONS:
        if given.get(name) is not None:
            raise InputError(f"--run says which model it is; leave --{name.replace('_', '-')} out.")
    run = store.run(run_id)
    if run.result is None:
        raise InputError(f"run = {run_id!r} has not finished, so there is no pruned model; repeat the run.")
    return run


def chosen_model(given: dict[str, Any]) -> ModelSource:
    """The model that the options describe."""
    values = config_values(given)
    return parse_source(values["model"], **values["model_options"])


def described_config(values: dict[str, Any]) -> RunConfig:
    """The config that the values of the options (``config_values``) describe."""
    model = parse_source(values.pop("model"), **values.pop("model_options"))
    return make_config(model, **values)


def dense_and_pruned(kind: type[M], run: Run | None, given: dict[str, Any], **wanted: Any) -> dict[str, M]:
    """The measurement of the run's dense model and of the run; of the model that the options describe, where there is no run."""
    if run is None:
        return {"dense": kind.of_dense(chosen_model(given), **wanted)}
    dense = kind.of_dense(run.config.model, run.identity.model_revision, **wanted)
    return {"dense": dense, "pruned": kind.of_run(run, **wanted)}
