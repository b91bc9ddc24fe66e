"""Where searches are kept: Optuna studies in a database of their own, beside the store's."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState

from core.config import Identity
from core.errors import InputError, NotFound
from core.search.mutation import Sparsities, mutated
from core.search.records import FILE, SearchRecord, State, Trial, parent_of
from core.search.search import Search

optuna.logging.set_verbosity(optuna.logging.WARNING)

_STATES: dict[TrialState, State] = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "finished",
    TrialState.FAIL: "failed",
}
_DRAWS = 100
"""How often a shift is drawn again because what it leads to was tried before."""


class Evolution(BaseSampler):
    """Optuna's sampler of a search: the best trial so far, with sparsity shifted between blocks.

    What it proposes follows from the search, the trial's number and the trials before it, so that a search that was stopped
    goes on as if it had not been.
    """

    def __init__(self, search: Search, sizes: Mapping[int, int]) -> None:
        self._search, self._sizes = search, sizes

    @property
    def space(self) -> dict[str, BaseDistribution]:
        low, high, _ = self._search.bounds
        return {str(block): FloatDistribution(low, high) for block in self._sizes}

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self.space

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if "start" in trial.user_attrs:
            return {}  # it has its values
        before = _trials(study)[: trial.number]
        parent = parent_of(before, self._search.offspring)
        if parent is None:
            raise InputError("The search has no trial to go on from, since all failed; see why on the Runs page.")
        rng = np.random.default_rng([self._search.seed, trial.number])
        tried = [one.sparsities for one in before]
        for _ in range(_DRAWS):
            child = mutated(parent.sparsities, self._sizes, self._search.bounds, self._search.step, rng)
            if child not in tried:
                break
        return {str(block): value for block, value in child.items()}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is not a block of the search")


class Study:
    """A search under way: which trial is next, and what became of it."""

    def __init__(self, study: optuna.Study, sampler: Evolution) -> None:
        self._study, self._sampler = study, sampler

    @property
    def record(self) -> SearchRecord:
        return _record(self._study)

    def ask(self) -> Trial:
        """The next trial: one that was stopped, else a start, else a new one."""
        for trial in self.record.trials:
            if trial.state != "running":
                continue
            if len(trial.sparsities) == len(self._sampler.space):
                return trial
            self.tell(trial.number, None)  # its process ended while it was being written
        asked = self._study.ask(fixed_distributions=self._sampler.space)
        return self.record.trials[asked.number]

    def made(self, number: int, run_id: str) -> Trial:
        """Keeps which run a trial is."""
        self._study.set_user_attr(_run_key(number), run_id)
        return self.record.trials[number]

    def tell(self, number: int, perplexity: float | None) -> Trial:
        """How a trial ended; one without a finite perplexity failed."""
        if perplexity is None or not math.isfinite(perplexity):
            self._study.tell(number, state=TrialState.FAIL)
        else:
            self._study.tell(number, perplexity)
        return self.record.trials[number]

    def start_from(self, starts: Mapping[str, Sparsities]) -> None:
        """Puts the starts first, by title, that have not been tried yet."""
        there = {trial.start for trial in self.record.trials if trial.state != "failed"}
        for title, sparsities in starts.items():
            if title not in there:
                params = {str(block): value for block, value in sparsities.items()}
                self._study.enqueue_trial(params, user_attrs={"start": title})


class Studies:
    """The searches of a home."""

    def __init__(self, storage: BaseStorage) -> None:
        self._storage = storage

    def study(self, search: Search, identity: Identity, sizes: Mapping[int, int]) -> Study:
        """The study of a search: the one that is there, else a new one."""
        sampler = Evolution(search, sizes)
        study = optuna.create_study(
            storage=self._storage,
            sampler=sampler,
            study_name=search.study(identity),
            direction="minimize",
            load_if_exists=True,
        )
        if "search" not in study.user_attrs:
            study.set_user_attr("created_at", time.time())
            study.set_user_attr("identity", identity.model_dump(mode="json"))
            study.set_user_attr("search", search.model_dump(mode="json"))  # last: with it the record is whole
        return Study(study, sampler)

    def get(self, search_id: str) -> SearchRecord:
        """The search with this id. Raises NotFound."""
        try:
            return _record(optuna.load_study(study_name=search_id, storage=self._storage))
        except KeyError:
            raise NotFound(f"search = {search_id!r} does not exist; it may have been deleted.") from None

    def all(self) -> list[SearchRecord]:
        """All searches, the latest first."""
        names = optuna.get_all_study_names(self._storage)
        studies = [optuna.load_study(study_name=name, storage=self._storage) for name in names]
        records = [_record(study) for study in studies if "search" in study.user_attrs]
        return sorted(records, key=lambda record: -record.created_at)

    def delete(self, search_id: str) -> None:
        """Forgets the search; its runs stay. Raises NotFound."""
        self.get(search_id)
        optuna.delete_study(study_name=search_id, storage=self._storage)


@contextmanager
def open_studies(home: Path) -> Iterator[Studies]:
    """The searches that are kept in ``home``."""
    storage = RDBStorage(f"sqlite:///{home / FILE}", engine_kwargs={"connect_args": {"timeout": 30}})
    try:
        yield Studies(storage)
    finally:
        storage.remove_session()
        storage.engine.dispose()


def known_searches(home: Path) -> list[SearchRecord]:
    """All searches that are kept in ``home``, the latest first; nothing is written where there are none."""
    if not (home / FILE).exists():
        return []
    with open_studies(home) as studies:
        return studies.all()


def _record(study: optuna.Study) -> SearchRecord:
    told = study.user_attrs
    return SearchRecord(
        id=study.study_name,
        search=Search.model_validate(told["search"]),
        identity=Identity.model_validate(told["identity"]),
        created_at=told["created_at"],
        trials=_trials(study),
    )


def _run_key(number: int) -> str:
    return f"run of trial {number}"


def _trials(study: optuna.Study) -> tuple[Trial, ...]:
    runs = study.user_attrs
    return tuple(
        Trial(
            number=trial.number,
            state=_STATES[trial.state],
            sparsities={int(block): value for block, value in trial.params.items()},
            perplexity=trial.value if trial.state == TrialState.COMPLETE else None,
            run_id=runs.get(_run_key(trial.number)),
            start=trial.user_attrs.get("start"),
        )
        for trial in study.get_trials(deepcopy=False)
    )
