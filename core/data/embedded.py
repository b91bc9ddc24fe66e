"""The embedded corpus: a slice of English Wikipedia out of the installed gensim wheel."""

from __future__ import annotations

import bz2
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, ClassVar
from xml.etree import ElementTree

from filelock import FileLock

from core.data.corpus import Corpus, Purpose
from core.disk import writing
from core.errors import NotFound
from core.settings import settings

log = logging.getLogger(__name__)

CLEANING = 2  # raised when the cleaning of the markup changes
_PARTS = 8
_TEST, _VALID = 3, 7  # article index modulo 8; all others are for calibration


class EmbeddedCorpus(Corpus):
    """106 English Wikipedia articles; calibration, validation and test articles are disjoint."""

    name: ClassVar[str] = "embedded"
    title: ClassVar[str] = "Embedded: English Wikipedia"

    def label(self, purpose: Purpose) -> str:
        return "Wikipedia (embedded)"

    def fingerprint(self, purpose: Purpose) -> str:
        return _version()

    def text(self, purpose: Purpose) -> str:
        return "\n\n".join(articles("train" if purpose == "calibration" else "test"))


def articles(part: str) -> list[str]:
    """The articles of ``part`` (train, valid or test) as plain text."""
    everything: list[str] = json.loads(_cleaned_file().read_text(encoding="utf-8"))
    names = {_TEST: "test", _VALID: "valid"}
    return [text for index, text in enumerate(everything) if names.get(index % _PARTS, "train") == part]


def _package() -> Any:  # another installed library may put its own class in the place of the standard one
    try:
        return distribution("gensim")
    except PackageNotFoundError:
        raise NotFound(
            "corpus = embedded needs the package gensim; run: pip install --no-deps -r requirements-data.txt"
        ) from None


def _version() -> str:
    return f"gensim {_package().version}, cleaning {CLEANING}"


def _cleaned_file() -> Path:
    """The cleaned articles as a JSON list; made on first use (some seconds)."""
    key = hashlib.sha256(_version().encode()).hexdigest()[:16]
    file = settings().cache / "corpora" / f"wikipedia-{key}.json"
    if file.is_file():
        return file
    with writing(file, "PRUNESCOPE_CACHE"):
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if not file.is_file():
                log.info("Cleaning the embedded Wikipedia slice once, to %s", file)
                unfinished = file.with_suffix(".unfinished")
                unfinished.write_text(json.dumps([_plain(source) for source in _sources()]), encoding="utf-8")
                unfinished.rename(file)
    return file


def _sources() -> Iterator[str]:
    """The wikitext of every article in the dump, redirects and other namespaces left out."""
    package = _package()
    file = next(f for f in package.files or [] if "enwiki-latest-pages-articles1" in f.name)
    with bz2.open(str(package.locate_file(file))) as dump:
        for _, element in ElementTree.iterparse(dump):
            if not element.tag.endswith("}page"):
                continue
            names = {child.tag.rpartition("}")[2]: child for child in element.iter()}
            if names["ns"].text == "0" and "redirect" not in names:
                yield names["text"].text or ""
            element.clear()


_DROPPED_TAGS = {"ref", "table", "gallery", "math", "timeline", "imagemap", "score"}
_DROPPED_LINKS = re.compile(r"\s*(file|image|category|[a-z-]{2,12}):", re.IGNORECASE)


def _plain(wikitext: str) -> str:
    """The words of an article: templates, tables, references, files and categories removed, links by their text."""
    import mwparserfromhell

    # Quotes that do not match would make the parser take the markup between them for text; they are removed at the end.
    code = mwparserfromhell.parse(wikitext, skip_style_tags=True)
    for tag in code.filter_tags(matches=lambda node: str(node.tag).strip().lower() in _DROPPED_TAGS):
        if code.contains(tag):
            code.remove(tag)
    for link in code.filter_wikilinks():
        if _DROPPED_LINKS.match(str(link.title)) and code.contains(link):
            code.remove(link)
    words = re.sub(r"'{2,}", "", code.strip_code(normalize=True, collapse=True))
    lines = (" ".join(line.split()) for line in words.splitlines())
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
