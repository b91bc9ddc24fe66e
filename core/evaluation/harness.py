"""lm-evaluation-harness: its tasks, prompts and metrics, and its scoring of a model in memory, batch by batch.

Written against lm_eval 0.4.13. What ``lm_eval.evaluate`` does in one long call is done here in its steps, so that a run can
tell how far it is and stop between two batches. Prompts, rows and metrics are the harness's own, batches those of its run of
one task; so are the figures. With no examples in the prompt nothing is random, so no seed is set. Importing this file
imports lm_eval and torch.
"""

from __future__ import annotations

import copy
import logging
import math
import random
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import datasets
import lm_eval.tasks
from lm_eval.api.metrics import stderr_for_metric
from lm_eval.models.huggingface import HFLM

from core.errors import InputError
from core.evaluation.accuracy import TaskAccuracy
from core.evaluation.tasks import TASKS, Task
from core.events import Event, Message, PhaseStarted, Progress
from core.models.sources import LoadedModel

Request = tuple[Any, list[int], list[int]]
"""What the harness scores: the texts, and the token ids of context and continuation."""
Answer = tuple[float, bool]
"""Log-likelihood of a continuation in nats, and whether it is what greedy decoding would say."""

_DOCUMENTS_A_STEP = 64


@dataclass(frozen=True)
class Question:
    """A document, and what the model is asked about it: one request an answer it may choose."""

    document: Any
    requests: list[Request]


@contextmanager
def _quiet() -> Iterator[None]:
    """Leaves the process as it was.

    The harness warns of what we do on purpose, lets others draw progress bars, and takes a random number wherever it asks
    for a task's name.
    """
    logger = logging.getLogger("lm_eval")
    level, bars, randomness = logger.level, not datasets.are_progress_bars_disabled(), random.getstate()
    logger.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        random.setstate(randomness)
        logger.setLevel(level)
        if bars:
            datasets.enable_progress_bars()


@_quiet()
def load_task(task: Task, overrides: dict[str, Any]) -> Any:
    """The harness's task with its documents; ``overrides`` replace parts of its definition."""
    # Only a task that is named inside a group keeps the definition that it overrides.
    group = {"group": "prunescope", "task": [{"task": task.name, **overrides}]}
    return _manager(task).load([group])["tasks"][task.name]


def _manager(task: Task) -> Any:
    """Knows the tasks of one folder: to read all that the harness has takes ten seconds."""
    folder = Path(lm_eval.tasks.__file__).parent / task.folder
    return lm_eval.tasks.TaskManager(include_defaults=False, include_path=folder)


class _TokenIds(HFLM):  # type: ignore[misc]
    """Stops where the model would run, and gives what it would have been asked."""

    def _loglikelihood_tokens(self, requests: list[Request], **_: Any) -> list[Request]:
        return requests


class Scorer:
    """A model in memory behind the harness's wrapper."""

    @_quiet()
    def __init__(self, loaded: LoadedModel, batch_size: int) -> None:
        parts = {
            "pretrained": loaded.model,
            "tokenizer": copy.deepcopy(loaded.tokenizer),  # it may be given a token to pad with
            "backend": "causal",
            "batch_size": batch_size,
        }
        self._reader, self._model = _TokenIds(**parts), HFLM(**parts)
        self.batch_size = batch_size

    @property
    def max_length(self) -> int:
        """Tokens of the model's context; what is longer loses its beginning."""
        return int(self._model.max_length)

    @_quiet()
    def read(self, requests: Sequence[Any]) -> list[Request]:
        """Token ids of requests, as the harness makes them."""
        return list(self._reader.loglikelihood(requests, disable_tqdm=True))

    def answer(self, requests: Sequence[Request]) -> Generator[Event, None, list[Answer]]:
        """Scores every request, and tells how many are done after each batch."""
        answers: dict[int, Answer] = {}
        for batch in _batches(requests, self.batch_size):
            answers |= zip(batch, self._score([requests[index] for index in batch]), strict=True)
            yield Progress(done=len(answers))
        return [answers[index] for index in range(len(requests))]

    @_quiet()
    def _score(self, requests: list[Request]) -> list[Answer]:
        return list(self._model._loglikelihood_tokens(requests, disable_tqdm=True))


def _batches(requests: Sequence[Request], batch_size: int) -> Iterator[list[int]]:
    """Indices of the requests that run together.

    As the harness has it: what differs only in its last token is one row, rows go longest first, ``batch_size`` at a time.
    """
    rows: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, (_, context, continuation) in enumerate(requests):
        rows[*context, *continuation[:-1]].append(index)

    def order(row: list[int]) -> tuple[int, list[int]]:
        _, context, continuation = max((requests[index] for index in row), key=lambda request: len(request[2]))
        return -len(context + continuation), context + continuation

    ordered = sorted(rows.values(), key=order)
    for start in range(0, len(ordered), batch_size):
        yield list(chain.from_iterable(ordered[start : start + batch_size]))


def accuracy(
    task: Any, scorer: Scorer, limit: int | None, source: str, fingerprint: str
) -> Generator[Event, None, TaskAccuracy]:
    """Asks the first ``limit`` documents of a loaded ``task``, with no examples in the prompt.

    Raises InputError where an answer alone is longer than the model's context.
    """
    started = time.perf_counter()
    title = TASKS[task.config.task].title
    questions = yield from _read(title, task, scorer, limit)
    requests = list(chain.from_iterable(question.requests for question in questions))
    _check_answers(title, requests, scorer.max_length)
    # The last token is only predicted, never read.
    cut = sum(any(len(c) + len(a) > scorer.max_length + 1 for _, c, a in question.requests) for question in questions)
    if cut:
        yield Message(
            text=f"{title}: {cut} of {len(questions)} documents are longer than the model's context of {scorer.max_length} "
            "tokens; it does not see their beginning."
        )
    yield PhaseStarted(phase=f"{title}: scoring answers", total=len(requests))
    answers = yield from scorer.answer(requests)
    if broken := sum(math.isnan(likelihood) for likelihood, _ in answers):
        yield Message(
            text=f"{title}: {broken} of {len(answers)} log-likelihoods are not a number; the model is broken, and its "
            "accuracy means nothing."
        )
    marks = _marks(task, questions, answers)
    right, error = _mean(task, "acc", marks)
    normalised, normalised_error = _mean(task, "acc_norm", marks) if "acc_norm" in marks else (None, None)
    return TaskAccuracy(
        task=task.config.task,
        accuracy=right,
        standard_error=error,
        normalised=normalised,
        normalised_error=normalised_error,
        documents=len(questions),
        available=len(task.task_docs),
        cut=cut,
        source=source,
        fingerprint=fingerprint,
        task_version=str(task.VERSION),
        harness=lm_eval.__version__,
        seconds=time.perf_counter() - started,
    )


def _read(title: str, task: Any, scorer: Scorer, limit: int | None) -> Generator[Event, None, list[Question]]:
    there = len(task.task_docs)
    yield PhaseStarted(phase=f"{title}: reading documents", total=there if limit is None else min(limit, there))
    questions = []
    for index, document in enumerate(islice(task.task_docs, limit)):
        with _quiet():
            prompt = task.fewshot_context(document, num_fewshot=0, gen_prefix=task.doc_to_prefix(document))
            asked = task.construct_requests(document, prompt, metadata=(task.config.task, index, 1))
        questions.append(Question(document, scorer.read(asked)))
        if len(questions) % _DOCUMENTS_A_STEP == 0:
            yield Progress(done=len(questions))
    return questions


def _check_answers(title: str, requests: list[Request], max_length: int) -> None:
    longest = max(len(continuation) for _, _, continuation in requests)
    if longest > max_length:
        raise InputError(
            f"tasks: {title} has an answer of {longest} tokens, and the model's context is {max_length}; leave the task out."
        )


def _marks(task: Any, questions: list[Question], answers: list[Answer]) -> dict[str, list[float]]:
    """What the harness makes of the answers: for each metric one value a document."""
    remaining = iter(answers)
    marks: dict[str, list[float]] = defaultdict(list)
    for question in questions:
        results = task.process_results(question.document, list(islice(remaining, len(question.requests))))
        for metric, value in results.items():
            marks[metric].append(value)
    return marks


def _mean(task: Any, metric: str, marks: dict[str, list[float]]) -> tuple[float, float | None]:
    """A metric over all documents, and its standard error, by the harness's own formulas."""
    values, aggregate = marks[metric], task.aggregation()[metric]
    error = stderr_for_metric(aggregate, bootstrap_iters=1)  # a mean's is a formula: nothing is drawn
    assert error is not None
    return float(aggregate(values)), float(error(values)) if len(values) > 1 else None
