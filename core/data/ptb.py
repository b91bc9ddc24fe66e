"""Penn Treebank as the literature uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from core.data.corpus import Purpose
from core.data.hub import HubFile
from core.data.hub_corpus import HubCorpus, Part


def _file(split: str) -> HubFile:
    """The data set itself is a script, which is never run; this branch of it holds what the hub made of it once."""
    return HubFile("ptb-text-only/ptb_text_only", f"penn_treebank/{split}/0000.parquet", "refs/convert/parquet")


class PTB(HubCorpus):
    """The sentences of Mikolov's version: lower case, 10,000 words, the others ``<unk>``, numbers ``N``."""

    name: ClassVar[str] = "ptb"
    title: ClassVar[str] = "Penn Treebank"
    summary: ClassVar[str] = (
        "Sentences joined by spaces; calibration on the training split, evaluation on the test split."
    )
    parts: ClassVar[Mapping[Purpose, Part]] = {
        "calibration": Part(_file("train"), split="train", join=" ", field="sentence"),
        "evaluation": Part(_file("test"), split="test", join=" ", field="sentence"),
    }
