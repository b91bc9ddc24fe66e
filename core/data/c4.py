"""C4 as the literature uses it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from core.data.corpus import Purpose
from core.data.hub import HubFile
from core.data.hub_corpus import HubCorpus, Part

_REPO = "allenai/c4"


class C4(HubCorpus):
    """The first training shard, of which each calibration window takes one document, and the first validation shard.

    Deviation: the research programs draw from the whole shard of 356,317 documents; here from its first 20,000, which are
    as random (the shards are shuffled) and 18 MB instead of 319.
    """

    name: ClassVar[str] = "c4"
    title: ClassVar[str] = "C4"
    summary: ClassVar[str] = (
        "Calibration on windows out of random documents that are longer than a window; evaluation on the first 1,100 "
        "validation documents, of which the first 256 windows count."
    )
    within_documents: ClassVar[bool] = True
    most_windows: ClassVar[int | None] = 256
    parts: ClassVar[Mapping[Purpose, Part]] = {
        "calibration": Part(
            HubFile(_REPO, "en/c4-train.00000-of-01024.json.gz", lines=20_000), split="train", join=" "
        ),
        "evaluation": Part(
            HubFile(_REPO, "en/c4-validation.00000-of-00008.json.gz", lines=1_100), split="validation", join=" "
        ),
    }
