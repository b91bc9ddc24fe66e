"""How many questions of a zero-shot task a model answers; light enough for pages to read without torch or the harness."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from pydantic import BaseModel

from core.evaluation.tasks import TASKS, TaskName


class TaskAccuracy(BaseModel, frozen=True):
    """The share of documents whose right answer is the likeliest of those offered."""

    task: TaskName
    accuracy: float
    standard_error: float | None
    """From the spread over documents; None for a single one."""
    normalised: float | None
    """With each answer's log-likelihood divided by its characters; None where the harness does not count so."""
    normalised_error: float | None
    documents: int
    available: int
    """Documents the data set has; the first ``documents`` of them were asked."""
    cut: int
    """Documents longer than the model's context, whose beginning it did not see."""
    source: str
    """File or data set."""
    fingerprint: str
    task_version: str
    harness: str
    """Version of lm-evaluation-harness."""
    seconds: float


Accuracies = Mapping[TaskName, TaskAccuracy]


_FIGURES = ["accuracy", "standard_error", "normalised", "normalised_error"]


def accuracy_table(found: Mapping[str, Accuracies]) -> pd.DataFrame:
    """One row a task and kind of weights, such as ``{"dense": …, "pruned": …}``; last the means over tasks known of all.

    Columns: task, weights, accuracy, standard_error, normalised, normalised_error (fractions; NaN where there is none),
    documents.
    """
    columns = {weights: tasks for weights, tasks in found.items() if tasks}
    rows = [_row(weights, tasks[name]) for name in TASKS for weights, tasks in columns.items() if name in tasks]
    shared = [name for name in TASKS if all(name in tasks for tasks in columns.values())]
    if len(shared) > 1:
        rows += [_mean(weights, [tasks[name] for name in shared]) for weights, tasks in columns.items()]
    return pd.DataFrame(rows, columns=["task", "weights", *_FIGURES, "documents"]).astype(
        dict.fromkeys(_FIGURES, float)
    )


def _row(weights: str, one: TaskAccuracy) -> dict[str, Any]:
    return {"task": TASKS[one.task].title, "weights": weights, **one.model_dump(include={*_FIGURES, "documents"})}


def _mean(weights: str, tasks: list[TaskAccuracy]) -> dict[str, Any]:
    """Tasks weigh the same; their errors are independent."""
    errors = [one.standard_error for one in tasks if one.standard_error is not None]
    return {
        "task": f"Mean of {len(tasks)}",
        "weights": weights,
        "accuracy": math.fsum(one.accuracy for one in tasks) / len(tasks),
        "standard_error": math.hypot(*errors) / len(tasks) if len(errors) == len(tasks) else None,
        "documents": sum(one.documents for one in tasks),
    }
