"""What a corpus is."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from core.registry import Component, component_field

Purpose = Literal["calibration", "evaluation"]


class Corpus(Component):
    """A text with a part to calibrate on and a part to evaluate on."""

    kind: ClassVar[str] = "corpus"

    @property
    @abstractmethod
    def label(self) -> str:
        """The corpus as a person would name it, with the part used."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes whenever the text does. Raises InputError where the text cannot be read."""

    @abstractmethod
    def text(self, purpose: Purpose) -> str:
        """The text for ``purpose``, documents joined as the corpus's users join them."""


AnyCorpus = component_field(Corpus)
