"""The publication a method comes from: cited in one line, or as BibTeX to copy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reference:
    """``authors`` as ``Given Family``, in the paper's order; ``venue`` only where it appeared beyond arXiv."""

    key: str
    title: str
    authors: tuple[str, ...]
    year: int
    arxiv: str | None = None
    venue: str | None = None
    url: str | None = None

    @property
    def link(self) -> str:
        return self.url or f"https://arxiv.org/abs/{self.arxiv}"

    def __str__(self) -> str:
        families = [author.split()[-1] for author in self.authors]
        who = f"{families[0]} et al." if len(families) > 2 else " and ".join(families)
        return ", ".join(filter(None, [who, str(self.year), f"arXiv {self.arxiv}" if self.arxiv else self.venue]))

    @property
    def bibtex(self) -> str:
        fields = {
            "title": f"{{{self.title}}}",
            "author": " and ".join(self.authors),
            "year": str(self.year),
            "booktitle" if self.venue else "journal": self.venue
            or (self.arxiv and f"arXiv preprint arXiv:{self.arxiv}"),
            "url": self.link,
        }
        kind = "inproceedings" if self.venue else "article" if self.arxiv else "misc"
        lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
        return "\n".join([f"@{kind}{{{self.key},", *lines, "}"])
