"""A measurement: something found out once about a model or a run, in the background, and kept."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, ClassVar, Self

from core.errors import InputError
from core.events import Event, PhaseStarted
from core.models.sources import AnySource
from core.registry import Component

if TYPE_CHECKING:
    from core.models.sources import LoadedModel, ModelSource
    from core.store import Run, Store

    Loader = Callable[[ModelSource], LoadedModel]


class Measurement(Component):
    """What is measured, of what exactly: its fields hold revisions, so the same fields always give the same findings.

    One of a run names it in a field ``run``, and is deleted with it.
    """

    kind: ClassVar[str] = "measurement"

    @property
    @abstractmethod
    def label(self) -> str:
        """What is measured of what, for lists."""

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.version} {self.canonical()}".encode()).hexdigest()[:16]

    @abstractmethod
    def known(self, store: Store) -> bool:
        """Whether the store has the findings already."""

    @abstractmethod
    def steps(self, store: Store, load: Loader) -> Generator[Event, None, None]:
        """Measures, tells of it, and puts the findings into the store. Raises InputError for what the user can mend."""


class OfWeights(Measurement):
    """A measurement of a dense model, or of what run ``run`` made of it."""

    model: AnySource
    revision: str
    run: str | None = None
    attempt: int | None = None
    """Of the run: a repeated run may have other weights."""

    @classmethod
    def of_run(cls, run: Run, **fields: Any) -> Self:
        """Of what ``run`` left. Raises InputError where it has not finished."""
        if run.result is None:
            raise InputError(f"run = {run.id!r} has not finished, so there is no pruned model; repeat the run.")
        revision = run.identity.model_revision
        return cls(model=run.config.model, revision=revision, run=run.id, attempt=run.finished_attempt, **fields)

    @property
    def label(self) -> str:
        return f"{self.title}: {f'run {self.run}' if self.run else self.model.label}"

    def loading(self, store: Store, load: Loader) -> Generator[Event, None, LoadedModel]:
        """Brings the weights into memory. Raises InputError where they are others now."""
        from core.reopening import reopening

        yield PhaseStarted(phase="Loading the model")
        if self.run is not None:
            if store.run(self.run).finished_attempt != self.attempt:
                raise InputError(f"run = {self.run!r} was repeated meanwhile; open the page again for its weights now.")
            return (yield from reopening(self.run, store, load))
        source = self.model.pinned(self.revision)
        if source.revision_key() != self.revision:
            raise InputError(f"model = {self.model.label!r} has changed since; open the page again for what it is now.")
        return load(source)
