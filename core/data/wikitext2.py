"""WikiText-2 as the literature uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from core.data.corpus import Purpose
from core.data.hub import HubFile
from core.data.hub_corpus import HubCorpus, Part

_REPO = "Salesforce/wikitext"
_FOLDER = "wikitext-2-raw-v1"


class WikiText2(HubCorpus):
    """WikiText-2, raw: rows as they are, the empty ones too."""

    name: ClassVar[str] = "wikitext2"
    title: ClassVar[str] = "WikiText-2"
    summary: ClassVar[str] = (
        "Raw. Calibration on the training split, rows joined by spaces; evaluation on the test split, joined by blank lines."
    )
    parts: ClassVar[Mapping[Purpose, Part]] = {
        "calibration": Part(HubFile(_REPO, f"{_FOLDER}/train-00000-of-00001.parquet"), split="train", join=" "),
        "evaluation": Part(HubFile(_REPO, f"{_FOLDER}/test-00000-of-00001.parquet"), split="test", join="\n\n"),
    }
