"""Measures the perplexity of a model in memory, on any number of texts."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int
from transformers import PreTrainedModel

from core.config import Evaluation
from core.data.windows import overlapping_windows, windows_to_evaluate_on
from core.evaluated import text_key
from core.evaluation.perplexity import token_losses, window_losses
from core.evaluation.result import TOKENS_KEPT, Evaluated, TokenLosses, perplexity
from core.events import Event, PhaseStarted, Progress
from core.models.sources import ModelSource


@dataclass(frozen=True)
class Text:
    """The windows of one corpus, and the key under which what is measured on them is kept."""

    evaluation: Evaluation
    key: str
    windows: Int[torch.Tensor, "n seqlen"]

    @property
    def label(self) -> str:
        label: str = self.evaluation.corpus.label("evaluation")
        return label


def described(corpus: str, windows: Int[torch.Tensor, "n seqlen"]) -> str:
    """What was read, for people."""
    return f"{corpus}, {windows.shape[0]} × {windows.shape[1]} tokens"


def read_texts(evaluation: Evaluation, fingerprints: Sequence[str], source: ModelSource) -> list[Text]:
    """Every corpus of ``evaluation``, in order, as its fingerprint says it was. Raises InputError where a text is too short."""
    parts = evaluation.pinned(fingerprints).each
    return [
        Text(part, text_key(part, fingerprint), evaluation_tokens(part, source))
        for part, fingerprint in zip(parts, fingerprints, strict=True)
    ]


def evaluation_tokens(evaluation: Evaluation, source: ModelSource) -> Int[torch.Tensor, "n seqlen"]:
    """The windows of the first corpus. Raises InputError where the text is too short."""
    return windows_to_evaluate_on(evaluation.corpus, source.load_tokenizer(), evaluation.windows, evaluation.seqlen)


def overlap_warnings(calibration: Int[torch.Tensor, "m seqlen2"], texts: Sequence[Text]) -> list[str]:
    """One sentence a text of which some windows were calibrated on."""
    shared = [(text, overlapping_windows(calibration, text.windows)) for text in texts]
    return [
        f"{count} of {len(text.windows)} evaluation windows of {text.label} share text with the calibration windows, "
        "so the perplexity may be too good; choose different texts."
        for text, count in shared
        if count
    ]


def evaluate(model: PreTrainedModel, texts: Sequence[Text], phase: str) -> Generator[Event, None, list[Evaluated]]:
    """The losses of ``model`` on each of the texts; a step of the phase is a window."""
    yield PhaseStarted(phase=phase, total=sum(len(text.windows) for text in texts))
    done, found = 0, []
    for text in texts:
        batches: list[torch.Tensor] = []
        for batch in token_losses(model, text.windows, text.evaluation.batch_size):
            batches.append(batch)
            done += len(batch)
            yield Progress(done=done)
        found.append(_evaluated(text, torch.cat(batches)))
    return found


def _evaluated(text: Text, losses: torch.Tensor) -> Evaluated:
    kept = None
    if text.windows.numel() <= TOKENS_KEPT:
        kept = TokenLosses(text.windows.numpy().astype(np.int32), losses.numpy())
    return Evaluated(perplexity(window_losses(losses), text.evaluation.seqlen), kept)
