"""Empirical spectral densities of weight matrices, their heavy tails and their random bulk."""

from core.spectra.esd import eigenvalues, nonzero
from core.spectra.hill import CHOICES, Tail, fit_tail
from core.spectra.marchenko_pastur import Bulk, fit_bulk
from core.spectra.metrics import METRICS, metrics

__all__ = ["CHOICES", "METRICS", "Bulk", "Tail", "eigenvalues", "fit_bulk", "fit_tail", "metrics", "nonzero"]
