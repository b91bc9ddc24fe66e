"""Prepares what is made once: the converted embedded model, the cleaned corpus, its tokens, the model's profile."""

from __future__ import annotations

from collections.abc import Callable

from core.data import EmbeddedCorpus
from core.data.windows import tokenize
from core.estimate import known_speed
from core.models.profiles import known_profile
from core.models.sources import Embedded
from core.store import Store


def prepare(say: Callable[[str], None]) -> None:
    """Makes what is missing; a second call finds everything there."""
    source, corpus = Embedded(), EmbeddedCorpus()
    say("Embedded model: converted once, about half a minute …")
    tokenizer = source.load_tokenizer()
    say("Embedded corpus: cleaned and tokenized once, about half a minute …")
    for purpose in ("calibration", "evaluation"):
        tokenize(corpus, purpose, tokenizer)
    store = Store.open()
    known_profile(source, store)
    known_speed(store)
    say("Ready.")
