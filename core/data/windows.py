"""Windows of tokens: random ones to calibrate on, consecutive ones to evaluate on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
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
_AT_ONCE = 64
"""Documents tokenized at once."""


def windows_to_calibrate_on(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, windows: int, seqlen: int, seed: int
) -> Int[torch.Tensor, "windows seqlen"]:
    """The windows of ``corpus`` to calibrate on. Raises InputError where its text, or every document, is too short."""
    if not corpus.within_documents:
        return calibration_windows(tokenize(corpus, "calibration", tokenizer), windows, seqlen, seed)

    def draw() -> np.ndarray:
        documents = corpus.documents("calibration")
        return document_windows(documents, lambda texts: _ids(tokenizer, texts), windows, seqlen, seed).numpy()

    key = f"{_key(corpus, 'calibration', tokenizer)}|{windows} x {seqlen}, seed {seed}"
    return torch.from_numpy(_kept(key, draw))


def windows_to_evaluate_on(
    corpus: Corpus, tokenizer: PreTrainedTokenizerBase, windows: int | None, seqlen: int
) -> Int[torch.Tensor, "windows seqlen"]:
    """The windows of ``corpus`` to evaluate on. Raises InputError where its text is too short."""
    tokens = tokenize(corpus, "evaluation", tokenizer)
    if corpus.most_windows is not None:
        tokens = tokens[: corpus.most_windows * seqlen]
    return evaluation_windows(tokens, windows, seqlen)


def calibration_windows(
    tokens: Int[np.ndarray, " n"], windows: int, seqlen: int, seed: int
) -> Int[torch.Tensor, "windows seqlen"]:
    """``windows`` windows at random places of ``tokens`` (they may overlap), decided by ``seed``."""
    _require_length(tokens, seqlen, "calibration")
    starts = np.random.default_rng(seed).integers(0, len(tokens) - seqlen + 1, size=windows)
    return torch.from_numpy(np.stack([tokens[start : start + seqlen] for start in starts]).astype(np.int64))


def document_windows(
    documents: Sequence[str], encode: Callable[[Sequence[str]], list[list[int]]], windows: int, seqlen: int, seed: int
) -> Int[torch.Tensor, "windows seqlen"]:
    """``windows`` windows, each at a random place of a random document of more than ``seqlen`` tokens.

    ``encode``: token ids of texts. Documents are drawn without repetition until none is left, then in the same order again.
    Raises InputError where all are too short.
    """
    random = np.random.default_rng(seed)
    long: list[list[int]] = []
    shuffled = (documents[number] for number in random.permutation(len(documents)))
    candidates = [text for text in shuffled if len(text.encode()) > seqlen]  # a token has at least a byte
    for first in range(0, len(candidates), _AT_ONCE):
        long += [ids for ids in encode(candidates[first : first + _AT_ONCE]) if len(ids) > seqlen]
        if len(long) >= windows:
            break
    if not long:
        raise InputError(
            f"calibration.seqlen = {seqlen} is too long: none of the {len(documents):,} documents looked at has more tokens; "
            "choose shorter windows or another corpus."
        )
    chosen = [long[number % len(long)] for number in range(windows)]
    starts = [int(random.integers(0, len(ids) - seqlen + 1)) for ids in chosen]
    return torch.tensor([ids[start : start + seqlen] for ids, start in zip(chosen, starts, strict=True)])


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
    key = _key(corpus, purpose, tokenizer)
    return _kept(key, lambda: np.asarray(_ids(tokenizer, [corpus.text(purpose)])[0], dtype=np.int32))


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _kept(key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """What ``make`` returns; made once for each ``key``, then read from disk."""
    file = settings().cache / "tokens" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npy"
    if file.is_file():
        return np.load(file)  # type: ignore[no-any-return]
    made = make()
    unfinished = file.with_name(f"{uuid4().hex}.npy")
    with writing(file, "PRUNESCOPE_CACHE"):
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(unfinished, made)
        unfinished.replace(file)
    return made


def _key(corpus: Corpus, purpose: Purpose, tokenizer: PreTrainedTokenizerBase) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    return f"{corpus.canonical()}|{corpus.fingerprint(purpose)}|{purpose}|{vocabulary}"


def _require_length(tokens: np.ndarray, seqlen: int, purpose: Purpose) -> None:
    if len(tokens) < seqlen:
        raise InputError(
            f"{purpose}.seqlen = {seqlen} is longer than the {purpose} text, which has {len(tokens)} tokens; "
            "choose shorter windows or a longer text."
        )
