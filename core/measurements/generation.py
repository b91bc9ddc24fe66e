"""A prompt continued by a dense model, or by what a run made of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, ClassVar

from core.evaluation.generation import Generation, continuation, prompt_tokens
from core.events import Event, PhaseStarted, Progress, Working
from core.measurements.base import OfWeights

if TYPE_CHECKING:
    from core.measurements.base import Loader
    from core.store import Store


class Continuation(OfWeights):
    """The text that comes after the prompt of ``generation``; while it is written, the attempt's message holds it so far."""

    name: ClassVar[str] = "generation"
    title: ClassVar[str] = "Continuation"

    generation: Generation

    @property
    def label(self) -> str:
        prompt = self.generation.prompt.strip()
        return f"{super().label}, {prompt if len(prompt) <= 40 else prompt[:39] + '…'!r}"

    def known(self, store: Store) -> bool:
        return store.finding(self.id) is not None

    def text(self, store: Store) -> str | None:
        """What was written; None where nothing was yet."""
        finding = store.finding(self.id)
        return None if finding is None else str(finding["text"])

    def steps(self, store: Store, load: Loader) -> Generator[Event, None, None]:
        yield PhaseStarted(phase="Reading the prompt")
        source = self.model.pinned(self.revision)
        prompt = prompt_tokens(self.generation, source.load_tokenizer(), source.profile().max_seqlen)
        loaded = yield from self.loading(store, load)
        yield PhaseStarted(phase="Writing", total=self.generation.max_new_tokens)
        text = ""
        for number, piece in enumerate(continuation(self.generation, prompt, loaded.model, loaded.tokenizer), start=1):
            text += piece
            yield Progress(done=number)
            yield Working(text=text)
        store.keep_finding(self.id, {"text": text})
