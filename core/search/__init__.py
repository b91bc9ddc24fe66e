"""Searches: how much each block should lose, found by trying; every trial is a run of its own."""

from core.search.search import Search

__all__ = ["Search"]
