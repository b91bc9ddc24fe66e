"""A text whose tokens are coloured by how much their loss rose from one model to another."""

from __future__ import annotations

import html
import math

import streamlit as st

from core.difference import same_model
from core.measurements.perplexity import PerplexityOn
from core.store import Run
from dashboard.components import cache, measuring

_RISE, _FALL = "213, 94, 0", "0, 114, 178"
_FULL = 3.0  # nats at which a token has its full colour
_STRONGEST = 0.6  # opacity: the letters on it stay readable in both themes


def show(a: Run, b: Run) -> None:
    """The evaluation text of ``a``, dense and as both runs read it; offers to measure what is not known."""
    if not same_model(a, b):
        st.info(
            "The two runs are of different models, whose tokens cannot be held against each other.",
            icon=":material/info:",
        )
        return
    names = {"dense": "the dense model", "a": "A", "b": "B"}
    pairs = {"A less dense": ("dense", "a"), "B less dense": ("dense", "b"), "B less A": ("a", "b")}
    pair = st.segmented_control(
        "Colour", list(pairs), default="B less A", required=True, key="losses_of", bind="query-params"
    )
    before, after = pairs[str(pair)]
    measured = {name: _on_text_of(a, name, b) for name in (before, after)}
    store = cache.store()
    if unknown := [one for one in measured.values() if not one.known(store)]:
        measuring.offer_all(
            unknown,
            "Measure the losses",
            "How much each token costs is not known for both; it is measured once.",
            "losses",
        )
        return
    text, other = (measured[name].token_losses(store)[0] for name in (before, after))
    if text is None or other is None:
        st.info(
            "This text is too long for the loss of every token to be kept; evaluate on fewer windows.",
            icon=":material/info:",
        )
        return
    windows = len(text.tokens)
    number = st.slider("Window", 1, windows, 1, key="window", bind="query-params") if windows > 1 else 1
    tokens = text.tokens[number - 1]
    rises = (other.losses[number - 1] - text.losses[number - 1]).tolist()
    model = a.config.model.pinned(a.identity.model_revision)
    pieces = cache.token_pieces(model.canonical(), tuple(int(token) for token in tokens))
    st.html(coloured(pieces, text.losses[number - 1].tolist(), other.losses[number - 1].tolist()))
    mean = math.fsum(rises) / len(rises)
    st.caption(
        f"Window {number} of {windows}, {a.result.evaluated_on if a.result else ''}. Orange: the token's loss is higher with "
        f"{names[after]} than with {names[before]}; blue: lower; full colour from {_FULL:g} nats on. Point at a word for its "
        f"probabilities. Mean of this window: {mean:+.3f} nats a token."
    )


def _on_text_of(a: Run, name: str, b: Run) -> PerplexityOn:
    """What the dense model, or a run, loses on the first evaluation text of ``a``."""
    wanted = {"evaluation": a.config.evaluation.each[0], "fingerprints": (a.identity.evaluation_fingerprint,)}
    if name == "dense":
        return PerplexityOn.of_dense(a.config.model, a.identity.model_revision, **wanted)
    return PerplexityOn.of_run(a if name == "a" else b, **wanted)


def coloured(pieces: list[str], before: list[float], after: list[float]) -> str:
    """HTML: the first piece plain, since it is given, each other on the colour of its rise, with probabilities to point at."""
    words = [_plain(pieces[0])]
    for piece, old, new in zip(pieces[1:], before, after, strict=True):
        rise = new - old
        opacity = min(abs(rise) / _FULL, 1.0) * _STRONGEST
        color = f"rgba({_RISE if rise > 0 else _FALL}, {opacity:.2f})"
        told = f"probability {math.exp(-old):.3f} → {math.exp(-new):.3f}, loss {rise:+.2f} nats"
        words.append(f'<span style="background-color: {color}" title="{told}">{_plain(piece)}</span>')
    return f'<p style="line-height: 1.9; overflow-wrap: anywhere">{"".join(words)}</p>'


def _plain(piece: str) -> str:
    return html.escape(piece).replace("\n", "<br>")
