"""The perplexity of a dense model, or of what a run made of it, on any texts."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from core.config import Evaluation, fingerprints, pinned_texts
from core.errors import InputError
from core.evaluated import dense_subject, text_keys
from core.evaluation.result import Perplexity, TokenLosses
from core.events import Event
from core.measurements.of_model import OfModel

if TYPE_CHECKING:
    from core.measurements.base import Loader
    from core.store import Store


class PerplexityOn(OfModel):
    """Perplexity and token losses on every corpus of ``evaluation``.

    What a run measured itself is known already, what one measurement found is known to all; a run's go when it is deleted
    or repeated.
    """

    name: ClassVar[str] = "perplexity"
    title: ClassVar[str] = "Perplexity"

    evaluation: Evaluation
    fingerprints: tuple[str, ...]
    """Of its corpora (``core.config.fingerprints``)."""

    @property
    def label(self) -> str:
        return (
            f"Perplexity: {self.whose} on {', '.join(part.corpus.label('evaluation') for part in self.evaluation.each)}"
        )

    @property
    def subject(self) -> str:
        return self.run or dense_subject(self.model, self.revision)

    @property
    def keys(self) -> tuple[str, ...]:
        """Of the texts, in order."""
        return text_keys(self.evaluation, self.fingerprints)

    def known(self, store: Store) -> bool:
        return all(self.found(store))

    def found(self, store: Store) -> list[Perplexity | None]:
        """One a corpus; None where it was not measured yet."""
        return [store.perplexity(self.subject, key) for key in self.keys]

    def token_losses(self, store: Store) -> list[TokenLosses | None]:
        """One a corpus; None where it was not measured yet, or the text was too long for them to be kept."""
        return [store.token_losses(self.subject, key) for key in self.keys]

    def overlaps(self, store: Store) -> list[str]:
        """What of the texts the run was calibrated on, or why that cannot be told, in sentences; none for a dense model."""
        from core.evaluating import overlap_warnings, read_texts
        from core.execution import calibration_tokens

        if self.run is None:
            return []
        run = store.run(self.run)
        config, was = pinned_texts(run.config, run.identity), run.identity.calibration_fingerprint
        try:
            calibrated_on = config.calibration.corpus.fingerprint("calibration")
            if (calibrated_on, *fingerprints(self.evaluation.pinned(self.fingerprints))) != (was, *self.fingerprints):
                raise InputError("a text has changed since.")
            calibration = calibration_tokens(config, self.source)
            texts = read_texts(self.evaluation, self.fingerprints, self.source)
        except InputError as error:
            return [f"Whether the run was calibrated on parts of these texts cannot be told: {error}"]
        return overlap_warnings(calibration, texts)

    def files(self, store: Store) -> tuple[Path, ...]:
        """Without what the run itself measured, which is a part of the run."""
        from core.store.artifacts import evaluated_file

        own: tuple[str, ...] = ()
        if self.run:
            run = store.run(self.run)
            own = text_keys(run.config.evaluation, run.identity.evaluation_fingerprints)
        return tuple(evaluated_file(store.folder(self.subject), key) for key in self.keys if key not in own)

    def steps(self, store: Store, load: Loader) -> Generator[Event, None, None]:
        from core import phases
        from core.checks import check_seqlen
        from core.evaluating import evaluate, read_texts

        pinned = self.evaluation.pinned(self.fingerprints)
        yield phases.reading([(part.corpus, "evaluation") for part in pinned.each])
        check_seqlen("evaluation", self.evaluation.seqlen, self.source.profile())
        if fingerprints(pinned) != self.fingerprints:
            raise InputError(f"{self.label}: the text has changed since; start again for what it is now.")
        texts = read_texts(self.evaluation, self.fingerprints, self.source)
        missing = [text for text in texts if store.perplexity(self.subject, text.key) is None]
        loaded = yield from self.loading(store, load)
        measured = yield from evaluate(loaded.model, missing, "Measuring")
        self.check_attempt(store)
        for text, evaluated in zip(missing, measured, strict=True):
            store.keep_evaluated(self.subject, text.key, evaluated)
