"""The spectra of a dense model, or of what a run made of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from core.events import Event, PhaseStarted, Progress
from core.measurements.base import OfWeights

if TYPE_CHECKING:
    from core.measurements.base import Loader
    from core.store import Store
    from core.store.artifacts import Eigenvalues


_OF_TAIL_AND_BULK = {"alpha_error", "xmin", "tail_size", "bulk_low", "bulk_high"}


class Spectra(OfWeights):
    """Eigenvalues, tail fits and metrics of every module: dense, or after run ``run``; or of each matrix with its
    entries permuted at random, which keeps its values and destroys its structure."""

    name: ClassVar[str] = "spectra"
    title: ClassVar[str] = "Spectra"

    randomised: bool = False

    @property
    def label(self) -> str:
        return f"{super().label}{', randomised' if self.randomised else ''}"

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
        from core.spectra.esd import eigenvalues
        from core.spectra.metrics import METRICS
        from core.spectra.randomised import random_distance, randomised_eigenvalues
        from core.spectra.table import all_figures

        loaded = yield from self.loading(store, load)
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
