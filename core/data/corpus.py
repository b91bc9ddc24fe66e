"""What a corpus is."""

from __future__ import annotations

import re
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Literal, Self

from core.registry import Component, component_field

Purpose = Literal["calibration", "evaluation"]


class Corpus(Component):
    """A text with a part to calibrate on and a part to evaluate on."""

    kind: ClassVar[str] = "corpus"
    within_documents: ClassVar[bool] = False
    """Whether each calibration window lies within one document; otherwise windows are cut from the joined text."""
    most_windows: ClassVar[int | None] = None
    """At most so many evaluation windows are there to choose from, the first ones; None: the whole text's."""
    suffixes: ClassVar[tuple[str, ...]] = ()
    """How names of files end that are this kind of corpus; ``path`` is then a field."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The corpus that a name or the path of a file means. Raises InputError for what looks like neither."""
        by_suffix = (known.name for known in cls.registry.classes() if text.lower().endswith(known.suffixes))
        if text in cls.registry or (re.fullmatch(r"[\w-]+", text) and not Path(text).exists()):
            return super().parse(text)
        return cls.registry[next(by_suffix, "text")](path=text)  # type: ignore[no-any-return]

    @abstractmethod
    def label(self, purpose: Purpose) -> str:
        """The corpus as a person would name it, with the part that serves ``purpose`` and where it was read."""

    @abstractmethod
    def fingerprint(self, purpose: Purpose) -> str:
        """Changes whenever the text for ``purpose`` does. Raises InputError where that text cannot be read.

        Pages ask often, so it must be quick the second time.
        """

    @abstractmethod
    def text(self, purpose: Purpose) -> str:
        """The text for ``purpose``, documents joined as the corpus's users join them."""

    def to_download(self, purpose: Purpose) -> str | None:
        """What reading the text would download first, for people; None where all is here."""
        return None

    def documents(self, purpose: Purpose) -> list[str]:
        """The documents for ``purpose``, where a corpus consists of such."""
        return [self.text(purpose)]

    def pinned(self, fingerprint: str) -> Self:
        """This corpus fixed to what ``fingerprint`` said it was, so that it cannot change between look-up and reading."""
        return self


AnyCorpus = component_field(Corpus)
