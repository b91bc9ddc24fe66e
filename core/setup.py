"""Prepares what is made once: the converted embedded model, the cleaned corpus, its tokens, the model's profile,
and the compiled loops."""

from __future__ import annotations

from collections.abc import Callable

from core.compiled import compile_ahead, known_compiled
from core.data import EmbeddedCorpus
from core.models.embedded import converted
from core.models.sources import Embedded
from core.settings import settings
from core.store import Store


def prepare(say: Callable[[str], None]) -> None:
    """Makes what is missing; a second call finds everything there, and imports nothing heavy."""
    source, corpus, store = Embedded(), EmbeddedCorpus(), Store.open()
    done = f"set-up {source.revision_key()}, {corpus.fingerprint('evaluation')}, {settings().cache}"[:200]
    if not known_compiled():
        say("Compiling the solvers' inner loops, once (about ten seconds) …")
        compile_ahead()
    if store.fact(done) and converted(source.revision_key()).is_dir():
        say("The embedded model and corpus are ready.")
        return
    from core.data.windows import tokenize
    from core.estimate import known_speed
    from core.models.profiles import known_profile

    say("Converting the embedded model, once (about half a minute) …")
    tokenizer = source.load_tokenizer()
    say("Cleaning and tokenizing the embedded corpus, once (about half a minute) …")
    for purpose in ("calibration", "evaluation"):
        tokenize(corpus, purpose, tokenizer)
    say("Measuring this machine …")
    known_profile(source, store)
    known_speed(store)
    store.remember(done, {"ready": True})
    say("Ready.")
