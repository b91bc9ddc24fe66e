"""Which letters of a text each token is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_HALF = "\N{REPLACEMENT CHARACTER}"


_MOST, _BEFORE = 64, 8
"""Tokens decoded together, so that time grows with the text and not with its square; and how many of those before stay, since
some tokenizers write a token at the beginning differently."""


def pieces(tokens: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The text of each token, which together are the text; a character made of several tokens stands with the last of them."""
    found, start, shown = [], 0, ""
    for end in range(1, len(tokens) + 1):
        text = _text(tokens[start:end], tokenizer)
        if text.endswith(_HALF) and end < len(tokens):
            found.append("")
            continue
        found.append(text[len(shown) :])
        shown = text
        if end - start >= _MOST:
            start = end - _BEFORE
            shown = _text(tokens[start:end], tokenizer)
    return found


def _text(tokens: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    text: Any = tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)
    return str(text)
