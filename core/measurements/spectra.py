"""The spectra of a dense model, or of what a run made of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from core.errors import InputError
from core.events import Event, PhaseStarted, Progress
from core.measurements.base import Measurement
from core.models.sources import AnySource

if TYPE_CHECKING:
    from core.measurements.base import Loader
    from core.store import Run, Store
    from core.store.artifacts import Eigenvalues


_OF_TAIL_AND_BULK = {"alpha_error", "xmin", "tail_size", "bulk_low", "bulk_high"}


class Spectra(Measurement):
    """Eigenvalues, tail fits and metrics of every module: dense, or after run ``run``; or of each matrix with its
    entries permuted at random, which keeps its values and destroys its structure."""

    name: ClassVar[str] = "spectra"
    title: ClassVar[str] = "Spectra"

    model: AnySource
    revision: str
    run: str | None = None
    attempt: int | None = None
    """Of the run: a repeated run may have other weights."""
    randomised: bool = False

    @classmethod
    def of_run(cls, run: Run) -> Spectra:
        return cls(
            model=run.config.model, revision=run.identity.model_revision, run=run.id, attempt=run.finished_attempt
        )

    @property
    def label(self) -> str:
        what = f"run {self.run}" if self.run else self.model.label
        return f"Spectra: {what}{', randomised' if self.randomised else ''}"

    def known(self, store: Store) -> bool:
        return store.has_spectra(self.id)

    def read(self, store: Store) -> Eigenvalues:
        """The eigenvalues as they were measured."""
        return store.eigenvalues(self.id)

    def table(self, store: Store, fit: str) -> pd.DataFrame:
        """One row a module: alpha and its error, D, the tail, the bulk, every metric, with this one of the ``FITS``."""
        table = store.spectra_table(self.id)
        return table[table.fit == fit].drop(columns="fit").reset_index(drop=True)

    def steps(self, store: Store, load: Loader) -> Generator[Event, None, None]:
        from core.models.effective import effective_names, effective_weights
        from core.reopening import reopening
        from core.spectra.esd import eigenvalues
        from core.spectra.metrics import METRICS
        from core.spectra.randomised import random_distance, randomised_eigenvalues
        from core.spectra.table import all_figures

        yield PhaseStarted(phase="Loading the model")
        if self.run is not None:
            if store.run(self.run).finished_attempt != self.attempt:
                raise InputError(f"run = {self.run!r} was repeated meanwhile; open the page again for its weights now.")
            loaded = yield from reopening(self.run, store, load)
        else:
            source = self.model.pinned(self.revision)
            if source.revision_key() != self.revision:
                raise InputError(
                    f"model = {self.model.label!r} has changed since; open the page again for what it is now."
                )
            loaded = load(source)
        yield PhaseStarted(phase="Spectra", total=len(effective_names(loaded.model)))
        found: dict[str, np.ndarray] = {}
        rows: list[dict[str, Any]] = []
        for module, block, label, weight in effective_weights(loaded.model):
            values = (randomised_eigenvalues(weight) if self.randomised else eigenvalues(weight)).cpu()
            found[module] = values.numpy()
            place = {
                "module": module,
                "block": block,
                "label": label,
                "rows": weight.shape[0],
                "columns": weight.shape[1],
            }
            if self.randomised and values.any():
                place["rand_distance"] = random_distance(eigenvalues(weight).cpu(), values)
            figures = all_figures(values, weight.shape[0], weight.shape[1])
            rows += [place | {"fit": fit} | row for fit, row in figures.items()]
            yield Progress(done=len(found))
        table = pd.DataFrame(rows)
        absent = dict.fromkeys(({*METRICS} | _OF_TAIL_AND_BULK) - {*table.columns}, float("nan"))
        store.keep_spectra(self.id, found, table.assign(**absent))
