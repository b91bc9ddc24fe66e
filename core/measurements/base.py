"""A measurement: something found out once about a model or a run, in the background, and kept."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from core.events import Event
from core.registry import Component

if TYPE_CHECKING:
    from core.models.sources import LoadedModel, ModelSource
    from core.store import Store

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

    def facts(self) -> tuple[str, ...]:
        """Keys of the facts that hold what it found, where it does not keep it in a folder of its own."""
        return ()

    def files(self, store: Store) -> tuple[Path, ...]:
        """What it found and keeps elsewhere than in a folder of its own."""
        return ()

    @abstractmethod
    def steps(self, store: Store, load: Loader) -> Generator[Event, None, None]:
        """Measures, tells of it, and puts the findings into the store. Raises InputError for what the user can mend."""
