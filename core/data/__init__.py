"""Text: corpora, and the windows of tokens cut from them."""

from core.data.corpus import AnyCorpus, Corpus
from core.data.embedded import EmbeddedCorpus
from core.data.text_file import TextFile

__all__ = ["AnyCorpus", "Corpus", "EmbeddedCorpus", "TextFile"]
