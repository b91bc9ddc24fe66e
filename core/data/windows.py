"""Windows of tokens: random ones to calibrate on, consecutive ones to evaluate on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import torch
from jaxtyping import Int

from core.data.corpus import Corpus, Purpose
from core.disk import writing
from core.errors import InputError
from core.settings import settings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_OVERLAP_TOKENS = 32


def calibration_windows(
    tokens: Int[np.ndarray, " n"], windows: int, seqlen: int, seed: int
) -> Int[torch.Tensor, "windows seqlen"]:
    """``windows`` windows at random places of ``tokens`` (they may overlap), decided by ``seed``."""
    _require_length(tokens, seqlen, "calibration")
    starts = np.random.default_rng(seed).integers(0, len(tokens) - seqlen + 1, size=windows)
    return torch.from_numpy(np.stack([tokens[start : start + seqlen] for start in starts]).astype(np.int64))


def evaluation_windows(
    tokens: Int[np.ndarray, " n"], windows: int | None, seqlen: int
) -> Int[torch.Tensor, "windows seqlen"]:
    """The non-overlapping windows of ``tokens``; ``windows`` of them spread evenly if that is fewer than there are."""
    _require_length(tokens, seqlen, "evaluation")
    there = len(tokens) // seqlen
    every = torch.from_numpy(tokens[: there * seqlen].astype(np.int64)).reshape(there, seqlen)
    if windows is None or windows >= there:
        return every
    return every[[index * there // windows for index in range(windows)]]


def overlapping_windows(calibration: Int[torch.Tensor, "n seqlen"], evaluation: Int[torch.Tensor, "m seqlen2"]) -> int:
    """How many evaluation windows share 32 consecutive tokens (a window, where shorter) with a calibration window."""
    length = min(_OVERLAP_TOKENS, calibration.shape[1], evaluation.shape[1])
    known = {run for window in calibration for run in _runs(window, length)}
    return sum(any(run in known for run in _runs(window, length)) for window in evaluation)


def _runs(window: torch.Tensor, length: int) -> set[bytes]:
    data = window.numpy().astype(np.int32)
    return {data[i : i + length].tobytes() for i in range(len(data) - length + 1)}


def tokenize(corpus: Corpus, purpose: Purpose, tokenizer: PreTrainedTokenizerBase) -> Int[np.ndarray, " n"]:
    """The corpus's token ids, without special tokens, int32; kept on disk per text and tokenizer."""
    file = _token_file(corpus, purpose, tokenizer)
    if file.is_file():
        return np.load(file)  # type: ignore[no-any-return]
    ids = tokenizer(corpus.text(purpose), add_special_tokens=False, verbose=False)["input_ids"]
    tokens = np.asarray(ids, dtype=np.int32)
    unfinished = file.with_name(f"{uuid4().hex}.npy")
    with writing(file, "PRUNESCOPE_CACHE"):
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(unfinished, tokens)
        unfinished.replace(file)
    return tokens


def _token_file(corpus: Corpus, purpose: Purpose, tokenizer: PreTrainedTokenizerBase) -> Path:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    key = f"{corpus.canonical()}|{corpus.fingerprint()}|{purpose}|{vocabulary}"
    return settings().cache / "tokens" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"


def _require_length(tokens: np.ndarray, seqlen: int, purpose: Purpose) -> None:
    if len(tokens) < seqlen:
        raise InputError(
            f"{purpose}.seqlen = {seqlen} is longer than the {purpose} text, which has {len(tokens)} tokens; "
            "choose shorter windows or a longer text."
        )
