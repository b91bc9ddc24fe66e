"""What was measured on a text; light enough for pages to read without torch or transformers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from pydantic import BaseModel

from core.numbers import Figure


class Perplexity(BaseModel, frozen=True):
    """``value = exp(mean loss)``, every window weighing the same; ``losses`` holds each window's mean loss in nats.

    ``standard_error`` is that of the perplexity, from the spread of the windows' losses (delta method); None for a single
    window.
    """

    value: Figure
    standard_error: float | None
    seqlen: int
    losses: tuple[Figure, ...]

    @property
    def windows(self) -> int:
        return len(self.losses)

    @property
    def tokens(self) -> int:
        """Predictions made: the first token of each window is given, not predicted."""
        return self.windows * (self.seqlen - 1)


class CorpusPerplexity(BaseModel, frozen=True):
    """Dense and pruned on one text."""

    evaluated_on: str
    dense: Perplexity
    pruned: Perplexity


@dataclass(frozen=True)
class TokenLosses:
    """The text as it was measured, and the loss (nats) of every predicted token: ``losses[w, t]`` is that of
    ``tokens[w, t + 1]``; the first token of a window is given."""

    tokens: Int[np.ndarray, "windows seqlen"]
    losses: Float[np.ndarray, "windows predictions"]


TOKENS_KEPT = 2**21
"""Up to this many tokens of a text (4 bytes each, and 4 for the loss: 17 MB) their losses are kept; beyond, only the
windows' are. The whole WikiText-2 test split has 305,000."""


@dataclass(frozen=True)
class Evaluated:
    """What is kept of a model's losses on a text; ``token_losses`` is None for a text beyond ``TOKENS_KEPT``."""

    perplexity: Perplexity
    token_losses: TokenLosses | None


def perplexity(losses: Sequence[float], seqlen: int) -> Perplexity:
    """The perplexity of windows with these mean losses."""
    mean = math.fsum(losses) / len(losses)
    # A broken model can reach losses beyond exp's range; its perplexity is then infinite, and said so.
    value = math.inf if mean >= 700 else math.exp(mean)
    error = None
    if len(losses) > 1 and math.isfinite(value):
        variance = math.fsum((loss - mean) ** 2 for loss in losses) / (len(losses) - 1)
        error = value * math.sqrt(variance / len(losses))
    return Perplexity(value=value, standard_error=error, seqlen=seqlen, losses=tuple(losses))
