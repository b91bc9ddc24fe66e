"""What is measured either of a dense model or of what a run made of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Self

from core.errors import InputError
from core.events import Event
from core.measurements.base import Measurement
from core.models.sources import AnySource, ModelSource

if TYPE_CHECKING:
    from core.measurements.base import Loader
    from core.models.sources import LoadedModel
    from core.store import Run, Store


class OfModel(Measurement):
    """Of ``model`` as it is, or as the run ``run`` left it."""

    model: AnySource
    revision: str
    run: str | None = None
    attempt: int | None = None
    """Of the run: a repeated run may have other weights."""

    @classmethod
    def of_dense(cls, model: ModelSource, revision: str | None = None, **wanted: Any) -> Self:
        """Of the model as it is now, where no ``revision`` is given. Raises InputError where there is none."""
        return cls(model=model, revision=revision or model.revision_key(), **wanted)

    @classmethod
    def of_run(cls, run: Run, **wanted: Any) -> Self:
        """Of what a run left. Raises InputError where it has not finished."""
        if run.result is None:
            raise InputError(f"run = {run.id!r} has not finished, so there is no pruned model; repeat the run.")
        revision = run.identity.model_revision
        return cls(model=run.config.model, revision=revision, run=run.id, attempt=run.finished_attempt, **wanted)

    @property
    def whose(self) -> str:
        """The model or the run, for people."""
        label: str = self.model.label
        return f"run {self.run}" if self.run else label

    @property
    def source(self) -> ModelSource:
        """The dense model, fixed to its revision."""
        pinned: ModelSource = self.model.pinned(self.revision)
        return pinned

    def loading(self, store: Store, load: Loader) -> Generator[Event, None, LoadedModel]:
        """Loads the model, or makes the run's again. Raises InputError where it is not what it was."""
        from core import phases
        from core.reopening import reopening

        yield phases.loading(self.source)
        if self.run is not None:
            self.check_attempt(store)
            return (yield from reopening(self.run, store, load))
        if self.source.revision_key() != self.revision:
            raise InputError(f"model = {self.whose!r} has changed since; open the page again for what it is now.")
        return load(self.source)

    def check_attempt(self, store: Store) -> None:
        """Raises InputError where the run was repeated meanwhile."""
        if self.run is not None and store.run(self.run).finished_attempt != self.attempt:
            raise InputError(f"run = {self.run!r} was repeated meanwhile; open the page again for its weights now.")
