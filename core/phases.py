"""What the first phases of a run or measurement say: reading, loading, and what is downloaded for it."""

from __future__ import annotations

from collections.abc import Iterable

from core.config import RunConfig
from core.data.corpus import Corpus, Purpose
from core.events import PhaseStarted
from core.models.sources import ModelSource


def reading(texts: Iterable[tuple[Corpus, Purpose]]) -> PhaseStarted:
    """Raises InputError where a text cannot be found."""
    missing = dict.fromkeys(what for corpus, purpose in texts if (what := corpus.to_download(purpose)))
    return PhaseStarted(phase=_downloading(", ".join(missing)) if missing else "Reading the text")


def texts_of(config: RunConfig) -> list[tuple[Corpus, Purpose]]:
    """Every text that a run reads, and for what."""
    evaluated: list[tuple[Corpus, Purpose]] = [(part.corpus, "evaluation") for part in config.evaluation.each]
    return [(config.calibration.corpus, "calibration"), *evaluated]


def loading(source: ModelSource) -> PhaseStarted:
    """Raises InputError where the model cannot be found."""
    missing = source.to_download()
    return PhaseStarted(phase=_downloading(missing) if missing else "Loading the model")


def _downloading(what: str) -> str:
    return f"Downloading from the Hugging Face hub: {what}"
