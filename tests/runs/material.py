"""What several tests of the run layer use: text, parts of configs, a naive perplexity, a full disk."""

import math
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from click.testing import Result

SEQLEN = 32
_WORDS = {
    "article": ["a", "the", "every", "one", "no"],
    "adjective": ["small", "large", "quiet", "loud", "sparse", "dense", "slow", "curious", "plain", "northern"],
    "noun": [
        "river",
        "layer",
        "matrix",
        "teacher",
        "engine",
        "forest",
        "window",
        "spectrum",
        "village",
        "machine",
        "weight",
    ],
    "verb": ["prunes", "follows", "holds", "measures", "forgets", "crosses", "changes", "explains", "leaves", "finds"],
    "where": ["in winter", "without a word", "before noon", "near the border", "for a while", "at last"],
}


def sentences(count: int, seed: int) -> str:
    """Plausible text: the same words in ever new sentences, which a BPE of 400 pieces covers."""
    chosen = random.Random(seed)
    word = {kind: (lambda kind=kind: chosen.choice(_WORDS[kind])) for kind in _WORDS}
    lines = []
    for number in range(count):
        subject = f"{word['article']()} {word['adjective']()} {word['noun']()}"
        lines.append(f"{subject} {word['verb']()} {word['article']()} {word['noun']()} {word['where']()}.".capitalize())
        if number % 7 == 6:
            lines.append("\n")
    return " ".join(lines)


def run_parts(texts: dict[str, Path], **changes: Any) -> dict[str, Any]:
    """``calibration`` and ``evaluation`` of a run that takes a fraction of a second; ``changes`` as section__field."""
    parts: dict[str, dict[str, Any]] = {
        "calibration": {
            "corpus": {"corpus": "text", "path": str(texts["calibration"])},
            "windows": 4,
            "seqlen": SEQLEN,
        },
        "evaluation": {"corpus": {"corpus": "text", "path": str(texts["evaluation"])}, "windows": 6, "seqlen": SEQLEN},
    }
    for name, value in changes.items():
        section, _, field = name.partition("__")
        parts[section][field] = value
    return parts


def fill(disk: Path, leave: int) -> Path:
    """Fills the file system of ``disk`` until ``leave`` bytes are free; returns the file that takes the room."""
    filler = disk / "filler"
    with filler.open("ab") as file:
        while (room := shutil.disk_usage(disk).free - leave) > 0:
            file.write(bytes(min(room, 1 << 20)))
            file.flush()
    return filler


@torch.no_grad()
def naive_perplexity(model: Any, tokenizer: Any, text: Path, windows: int, seqlen: int = SEQLEN) -> float:
    """exp of the mean loss over ``windows`` windows spread over the text, one prediction at a time, in float64."""
    tokens = tokenizer(text.read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    every = [tokens[start : start + seqlen] for start in range(0, len(tokens) - seqlen + 1, seqlen)]
    chosen = [every[math.floor(number * len(every) / windows)] for number in range(windows)]
    losses = []
    for window in chosen:
        logits = model(torch.tensor([window])).logits[0].double()
        losses += [-logits[at].log_softmax(0)[window[at + 1]].item() for at in range(seqlen - 1)]
    return math.exp(sum(losses) / len(losses))


def run_options(folder: Path, texts: dict[str, Path], **changes: Any) -> list[str]:
    """The command line's options for the run that ``run_parts`` describes; ``changes`` replace or (None) drop options."""
    options: dict[str, Any] = {
        "model": folder,
        "method": "magnitude",
        "calibration_corpus": texts["calibration"],
        "calibration_windows": 4,
        "calibration_seqlen": SEQLEN,
        "evaluation_corpus": texts["evaluation"],
        "evaluation_windows": 6,
        "evaluation_seqlen": SEQLEN,
    } | changes
    return [
        word
        for name, value in options.items()
        if value is not None
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]


def sentence(result: Result | SimpleNamespace, progress: bool = False) -> str:
    """The one sentence a command refused with, exit code 2; with ``progress`` other lines may stand before it."""
    assert result.exit_code == 2, f"exit code {result.exit_code}: {result.exception!r}\n{result.output}"
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert "Traceback" not in result.output
    assert [line for line in lines if line.startswith("Error: ")] == lines[-1:], result.stderr
    if not progress:
        assert len(lines) == 1, result.stderr
        assert result.stdout == ""
    message = lines[-1].removeprefix("Error: ")
    assert message[-1] in ".!?)", message
    return message


def intact(home: Path) -> bool:
    """Whether SQLite finds the run database as it should be."""
    with closing(sqlite3.connect(home / "runs.sqlite3")) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
