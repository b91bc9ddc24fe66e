"""Perplexities that others published, with their sources."""

from core.published.results import Published, PublishedResult, Source, against_published, published, published_table

__all__ = ["Published", "PublishedResult", "Source", "against_published", "published", "published_table"]
