"""Under which keys perplexities are kept: of a dense model once for all its runs, of a run until it is deleted or repeated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from core.config import Evaluation
from core.models.sources import ModelSource


def dense_subject(model: ModelSource, revision: str) -> str:
    """The dense model, in the place of a run's id."""
    return f"dense-{_digest(f'{revision}|{model.canonical()}')}"


def text_key(evaluation: Evaluation, fingerprint: str) -> str:
    """One corpus as it is measured. The batch size is no part of it: it does not change what is measured."""
    return _digest(f"{evaluation.model_dump_json(exclude={'batch_size', 'also'})}|{fingerprint}")


def text_keys(evaluation: Evaluation, fingerprints: Sequence[str]) -> tuple[str, ...]:
    """The same of every corpus, in order."""
    return tuple(text_key(part, text) for part, text in zip(evaluation.each, fingerprints, strict=True))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
