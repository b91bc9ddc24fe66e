"""Searches as the rest of the program sees them."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

from pydantic import BaseModel

from core.config import Identity
from core.search.search import Search

FILE = "searches.sqlite3"
"""In the store's home: Optuna's own database, in which the searches are kept."""

State = Literal["waiting", "running", "finished", "failed"]
"""*running* also stands for a trial that was stopped; it is taken up again when the search goes on."""


class Trial(BaseModel, frozen=True):
    """One allocation that was tried, or is to be: the sparsity of each block, and what became of it."""

    number: int
    state: State
    sparsities: dict[int, float]
    """By block; those that wait have none yet."""
    perplexity: float | None = None
    run_id: str | None = None
    start: str | None = None
    """Of the trials that the search starts from: the allocation's title."""

    @property
    def ended(self) -> bool:
        return self.state in ("finished", "failed")


class SearchRecord(BaseModel, frozen=True):
    """A search and its trials, in the order in which they were made."""

    id: str
    search: Search
    identity: Identity
    created_at: float
    trials: tuple[Trial, ...]

    @property
    def ended(self) -> int:
        """How many trials are over."""
        return sum(trial.ended for trial in self.trials)

    @cached_property
    def best(self) -> Trial | None:
        """The first of the trials with the lowest perplexity; None as long as none has finished."""
        return best_of(self.trials)

    def parent(self, number: int) -> Trial | None:
        """What trial ``number`` was made from; None for a start."""
        return None if self.trials[number].start else parent_of(self.trials[:number], self.search.offspring)


def best_of(trials: tuple[Trial, ...]) -> Trial | None:
    finished = [trial for trial in trials if trial.state == "finished" and trial.perplexity is not None]
    return min(finished, key=lambda trial: (trial.perplexity, trial.number), default=None)


def parent_of(before: tuple[Trial, ...], offspring: int) -> Trial | None:
    """What the trial after ``before`` is made from: the best of all before it but its own brothers and sisters."""
    siblings = sum(trial.start is None for trial in before) % offspring
    return best_of(before[: len(before) - siblings])
