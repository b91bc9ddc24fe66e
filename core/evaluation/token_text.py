"""Which letters of a text each token is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_HALF = "\N{REPLACEMENT CHARACTER}"


def pieces(tokens: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The text of each token, which together are the text; a character made of several tokens stands with the last of them."""
    found, shown = [], ""
    for number in range(len(tokens)):
        text = _text(tokens[: number + 1], tokenizer)
        unfinished = text.endswith(_HALF) and number + 1 < len(tokens)
        found.append("" if unfinished else text[len(shown) :])
        shown = shown if unfinished else text
    return found


def _text(tokens: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    text: Any = tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False)
    return str(text)
