"""What was measured, on disk: perplexities with the losses of their tokens, spectra, and what JSON holds."""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from core.disk import writing
from core.evaluation.result import Evaluated, Perplexity, TokenLosses
from core.lazy import torch
from core.store import artifacts
from core.store.records import MeasurementRecord


class Findings(ABC):
    """The part of a store that keeps what measurements found, each in a folder of its own."""

    @abstractmethod
    def folder(self, run_id: str) -> Path:
        """Where the artifacts of a run, of a measurement or of a dense model are."""

    @abstractmethod
    def measurement(self, measurement_id: str) -> MeasurementRecord | None:
        """None where it was never asked for, or deleted."""

    # Perplexities -----------------------------------------------------------------------------------------------

    def keep_evaluated(self, subject: str, key: str, found: Evaluated) -> None:
        """Keeps what was measured of a run, or of a dense model (``core.evaluated``), on a text."""
        artifacts.write_evaluated(self.folder(subject), key, found)

    def perplexity(self, subject: str, key: str) -> Perplexity | None:
        """None where it was not measured on that text, or the run was deleted or repeated since."""
        file = artifacts.evaluated_file(self.folder(subject), key)
        return artifacts.read_perplexity(file) if file.is_file() else None

    def token_losses(self, subject: str, key: str) -> TokenLosses | None:
        """None also where the text was too long for them to be kept (``TOKENS_KEPT``)."""
        file = artifacts.evaluated_file(self.folder(subject), key)
        return artifacts.read_token_losses(file) if file.is_file() else None

    # Spectra ----------------------------------------------------------------------------------------------------

    def keep_spectra(self, measurement_id: str, found: artifacts.Eigenvalues, table: pd.DataFrame) -> None:
        with artifacts.new_folder(self.folder(measurement_id), "PRUNESCOPE_HOME") as folder:
            artifacts.write_spectra(folder, found, table)
        self._drop_if_deleted(measurement_id)

    def keep_module_spectrum(self, measurement_id: str, module: str, spectrum: artifacts.ModuleSpectrum) -> None:
        """Keeps one module's until all are there, so that what was stopped can go on; ``keep_spectra`` takes their place."""
        folder = self.folder(measurement_id)
        with writing(folder, "PRUNESCOPE_HOME"):
            folder.mkdir(parents=True, exist_ok=True)
            artifacts.write_module_spectrum(folder, module, spectrum)

    def module_spectra(self, measurement_id: str) -> dict[str, artifacts.ModuleSpectrum]:
        """What was kept of them so far, by module."""
        return artifacts.read_module_spectra(self.folder(measurement_id))

    def has_spectra(self, measurement_id: str) -> bool:
        return (self.folder(measurement_id) / artifacts.SPECTRA).is_file()

    def eigenvalues(self, measurement_id: str) -> artifacts.Eigenvalues:
        return artifacts.read_eigenvalues(self.folder(measurement_id))

    def spectra_table(self, measurement_id: str) -> pd.DataFrame:
        return artifacts.read_spectra(self.folder(measurement_id))

    # Tensors ----------------------------------------------------------------------------------------------------

    def keep_tensors(
        self, run_id: str, name: str, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]
    ) -> None:
        """Keeps what was measured of a run, with ``facts`` that JSON holds, until the run is deleted or repeated."""
        artifacts.write_tensors(artifacts.tensors_file(self.folder(run_id), name), tensors, facts)

    def tensors(self, run_id: str, name: str) -> artifacts.KeptTensors | None:
        """None where nothing is kept under that name. Opened, not read: a matrix may be larger than what is looked at."""
        file = artifacts.tensors_file(self.folder(run_id), name)
        return artifacts.KeptTensors(file) if file.is_file() else None

    # Findings ---------------------------------------------------------------------------------------------------

    def keep_finding(self, measurement_id: str, finding: dict[str, Any]) -> None:
        """Keeps what a measurement found, where JSON holds it."""
        with artifacts.new_folder(self.folder(measurement_id), "PRUNESCOPE_HOME") as folder:
            artifacts.write_finding(folder, finding)
        self._drop_if_deleted(measurement_id)

    def finding(self, measurement_id: str) -> dict[str, Any] | None:
        folder = self.folder(measurement_id)
        return artifacts.read_finding(folder) if (folder / artifacts.FINDING).is_file() else None

    def _drop_if_deleted(self, measurement_id: str) -> None:
        """Removes what was kept of a measurement that was deleted while it was measured."""
        if self.measurement(measurement_id) is None:
            shutil.rmtree(self.folder(measurement_id), ignore_errors=True)
