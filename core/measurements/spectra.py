"""The spectra of a dense model, or of what a run made of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, ClassVar

import pandas as pd

from core.events import Event, PhaseStarted, Progress
from core.measurements.of_model import OfModel

if TYPE_CHECKING:
    from core.measurements.base import Loader
    from core.models.effective import EffectiveWeight
    from core.store import Store
    from core.store.artifacts import Eigenvalues, ModuleSpectrum


_OF_TAIL_AND_BULK = {"alpha_error", "xmin", "tail_size", "bulk_low", "bulk_high"}


class Spectra(OfModel):
    """Eigenvalues, tail fits and metrics of every module; or of each matrix with its entries permuted at random, which keeps
    its values and destroys its structure."""

    name: ClassVar[str] = "spectra"
    title: ClassVar[str] = "Spectra"
    version: ClassVar[int] = 2  # the bulk is fitted as WeightWatcher fits it

    randomised: bool = False

    @property
    def label(self) -> str:
        return f"Spectra: {self.whose}{', randomised' if self.randomised else ''}"

    @property
    def shuffled(self) -> Spectra:
        """The same of the matrices with their entries permuted."""
        return self.model_copy(update={"randomised": True})

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
        from core.parallel import each_on_one_thread
        from core.spectra.metrics import METRICS

        loaded = yield from self.loading(store, load)
        names = effective_names(loaded.model)
        yield PhaseStarted(phase="Spectra", total=len(names))
        found = store.module_spectra(self.id)  # of an attempt that was stopped
        plain = self._plain(store)
        wanted = (each for each in effective_weights(loaded.model) if each.module not in found)
        for module, spectrum in each_on_one_thread(lambda each: (each.module, self._spectrum(each, plain)), wanted):
            store.keep_module_spectrum(self.id, module, spectrum)
            found[module] = spectrum
            yield Progress(done=len(found))
        table = pd.DataFrame([row for name in names for row in found[name].rows])
        absent = dict.fromkeys(({*METRICS} | _OF_TAIL_AND_BULK) - {*table.columns}, float("nan"))
        store.keep_spectra(self.id, {name: found[name].values for name in names}, table.assign(**absent))

    def _plain(self, store: Store) -> Eigenvalues:
        """The eigenvalues of the matrices as they are, where these are shuffled and those were measured before."""
        plain = self.model_copy(update={"randomised": False})
        return plain.read(store) if self.randomised and plain.known(store) else {}

    def _spectrum(self, each: EffectiveWeight, plain: Eigenvalues) -> ModuleSpectrum:
        import torch

        from core.spectra.esd import eigenvalues
        from core.spectra.randomised import random_distance, randomised_eigenvalues
        from core.spectra.table import all_figures
        from core.store.artifacts import ModuleSpectrum

        weight = each.weight
        rows, columns = weight.shape
        values = (randomised_eigenvalues(weight) if self.randomised else eigenvalues(weight)).cpu()
        place = {"module": each.module, "block": each.block, "label": each.label, "rows": rows, "columns": columns}
        if self.randomised and values.any():
            known = plain.get(each.module)
            ordered = eigenvalues(weight).cpu() if known is None else torch.from_numpy(known)
            place["rand_distance"] = random_distance(ordered, values)
        figures = all_figures(values, rows, columns)
        return ModuleSpectrum(values.numpy(), [place | {"fit": fit} | row for fit, row in figures.items()])
