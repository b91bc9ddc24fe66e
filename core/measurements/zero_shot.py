"""Zero-shot accuracy of a dense model, or of what a run made of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, ClassVar, Self

from core.errors import InputError
from core.evaluation.accuracy import TaskAccuracy
from core.evaluation.task_data import task_data
from core.evaluation.tasks import TaskName
from core.evaluation.zero_shot import TaskChoice, harness_version
from core.events import Event, PhaseStarted, Progress, Working
from core.measurements.of_model import OfModel
from core.models.sources import ModelSource

if TYPE_CHECKING:
    from core.measurements.base import Loader
    from core.store import Run, Store


class ZeroShot(OfModel):
    """Accuracy on each task of ``choice``.

    Findings are kept by task, so another choice with some of the same tasks asks only the others, and every run of a model
    finds what is known of the dense one.
    """

    name: ClassVar[str] = "zero_shot"
    title: ClassVar[str] = "Zero-shot tasks"

    choice: TaskChoice
    data: dict[TaskName, str]
    """By task: what its documents were."""
    harness: str
    """Version of lm-evaluation-harness."""

    @classmethod
    def of(cls, weights: ModelSource | Run, choice: TaskChoice) -> Self:
        """Of a dense model, or of what a run left. Raises InputError where something that it needs is missing."""
        harness, choice = harness_version(), choice.resolved()
        asked: dict[str, Any] = {"choice": choice, "data": choice.fingerprints(), "harness": harness}
        if isinstance(weights, ModelSource):
            return cls.of_dense(weights, **asked)
        return cls.of_run(weights, **asked)

    @property
    def dense(self) -> Self:
        """The same of the model before it was pruned."""
        return self.model_copy(update={"run": None, "attempt": None})

    @property
    def label(self) -> str:
        return f"{self.title}: {self.whose}"

    def known(self, store: Store) -> bool:
        return len(self.found(store)) == len(self.choice.tasks)

    def found(self, store: Store) -> dict[TaskName, TaskAccuracy]:
        """What is known so far, by task."""
        facts = {name: store.fact(self._key(name)) for name in self.choice.tasks}
        return {name: TaskAccuracy.model_validate(fact) for name, fact in facts.items() if fact}

    def facts(self) -> tuple[str, ...]:
        return tuple(self._key(name) for name in self.choice.tasks)

    def steps(self, store: Store, load: Loader) -> Generator[Event, None, None]:
        known = self.found(store)
        missing = [name for name in self.choice.tasks if name not in known]
        if not missing:
            return
        yield PhaseStarted(phase="Reading the tasks", total=len(missing))
        if harness_version() != self.harness:
            raise InputError(f"lm_eval = {self.harness} was replaced by {harness_version()} meanwhile; start again.")
        from core.evaluation.harness import Scorer, accuracy

        tasks, sources = {}, {}
        for name in missing:
            data = task_data(name, self.choice.folder)
            if data.fingerprint() != self.data[name]:
                raise InputError(f"tasks = {name}: its documents ({data.label}) have changed since; start again.")
            yield Working(text=data.label)
            tasks[name], sources[name] = data.load(self.data[name]), data.label
            yield Progress(done=len(tasks))
        loaded = yield from self.loading(store, load)
        scorer = Scorer(loaded, self.choice.batch_size)
        for name, task in tasks.items():
            found = yield from accuracy(task, scorer, self.choice.limit, sources[name], self.data[name])
            store.remember(self._key(name), found.model_dump(mode="json"))

    def _key(self, name: TaskName) -> str:
        """Of everything that decides the accuracy on a task."""
        from core.store.tables import about_run

        basis = [
            self.version,
            self.model.canonical(),
            self.revision,
            self.attempt,
            name,
            self.choice.limit,
            self.data[name],
            self.harness,
        ]
        digest = hashlib.sha256(json.dumps(basis).encode()).hexdigest()[:32]
        return f"{about_run(self.run) if self.run else ''}zero-shot {digest}"


def last_accuracies(run: Run, store: Store, dense: bool = False) -> dict[TaskName, TaskAccuracy]:
    """By task: what was found last of a run's weights, or of its dense model, whatever else was chosen then."""
    weights = (None, None) if dense else (run.id, run.finished_attempt)
    found: dict[TaskName, TaskAccuracy] = {}
    for record in reversed(store.measurements()):
        one = record.measurement
        if not isinstance(one, ZeroShot) or (one.run, one.attempt) != weights:
            continue
        if one.model == run.config.model and one.revision == run.identity.model_revision:
            found |= one.found(store)
    return found
