"""From the losses of a sentence's tokens to its perplexity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from core.evaluation.likelihood import negative_log_likelihood
from core.evaluation.result import perplexity
from core.lazy import torch
from core.lessons.example import dice

SENTENCE = ("the", "river", "bends", "where", "the", "old", "mill", "stands")
VOCABULARY = (*sorted(set(SENTENCE)), "sleeps")


@dataclass(frozen=True)
class Surprise:
    """``probabilities`` [word of the vocabulary, prediction] of a made-up model, the loss (nats) of each word of the sentence
    but the first, which is given, and the perplexity over them."""

    probabilities: Float[np.ndarray, "vocabulary predictions"]
    targets: tuple[int, ...]
    losses: Float[np.ndarray, " predictions"]
    perplexity: float

    @property
    def mean(self) -> float:
        return float(self.losses.mean())


def surprise(seed: int, knowledge: float, noise: float, misled: float = 0.0, place: int = 5) -> Surprise:
    """Logits are ``knowledge`` for the right word and 0 for the others, plus ``noise`` times random numbers; at the prediction
    ``place`` the right word's is lower by ``misled``."""
    targets = torch.tensor([VOCABULARY.index(word) for word in SENTENCE[1:]])
    random = torch.randn(len(targets), len(VOCABULARY), generator=dice(seed))
    logits = knowledge * torch.nn.functional.one_hot(targets, len(VOCABULARY)) + noise * random
    logits[place, targets[place]] -= misled
    losses = negative_log_likelihood(logits, targets).double()
    value = perplexity([float(losses.mean())], len(SENTENCE)).value
    return Surprise(logits.softmax(dim=1).T.numpy(), tuple(targets.tolist()), losses.numpy(), value)
