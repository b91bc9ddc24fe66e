"""Text: corpora, and the windows of tokens cut from them."""

from core.data.c4 import C4
from core.data.corpus import AnyCorpus, Corpus
from core.data.document_file import DocumentFile
from core.data.embedded import EmbeddedCorpus
from core.data.pasted import PastedText
from core.data.ptb import PTB
from core.data.text_file import TextFile
from core.data.wikitext2 import WikiText2

__all__ = ["C4", "PTB", "AnyCorpus", "Corpus", "DocumentFile", "EmbeddedCorpus", "PastedText", "TextFile", "WikiText2"]
