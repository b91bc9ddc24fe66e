"""The zero-shot tasks: their names, and what a document of each holds.

Field names are those of the Hugging Face data sets, which are what the harness's prompts read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, field_validator, model_validator

from core.errors import InputError

Answer = Annotated[str, Field(min_length=1)]


class Document(BaseModel, frozen=True):
    """One question with its right answer; what else stands beside it is left out."""


class BoolQ(Document, frozen=True):
    passage: str
    question: str
    label: int = Field(ge=0, le=1)


class RTE(Document, frozen=True):
    sentence1: str
    sentence2: str
    label: int = Field(ge=0, le=1)


class HellaSwag(Document, frozen=True):
    activity_label: str
    ctx_a: str
    ctx_b: str
    endings: list[Answer] = Field(min_length=2)
    label: int = Field(ge=0)

    @model_validator(mode="after")
    def _label_fits(self) -> Self:
        if self.label >= len(self.endings):
            raise InputError(f"label = {self.label} is none of its {len(self.endings)} endings, counted from 0.")
        return self


class MNLI(Document, frozen=True):
    premise: str
    hypothesis: str
    label: int = Field(ge=0, le=2)


class WinoGrande(Document, frozen=True):
    sentence: str
    option1: Answer
    option2: Answer
    answer: Literal["1", "2"]

    @field_validator("sentence")
    @classmethod
    def _has_a_gap(cls, sentence: str) -> str:
        if not sentence.partition("_")[2].strip():
            raise InputError("sentence has no gap (_) with words after it.")
        return sentence


class Choices(BaseModel, frozen=True):
    text: list[Answer] = Field(min_length=2)
    label: list[str]


class _MultipleChoice(Document, frozen=True):
    choices: Choices
    answerKey: Annotated[str, StringConstraints(strip_whitespace=True)]  # the data sets' own spelling

    @model_validator(mode="after")
    def _answer_fits(self) -> Self:
        labels, texts = self.choices.label, self.choices.text
        if len(labels) != len(texts):
            raise InputError(f"choices has {len(labels)} labels for {len(texts)} texts.")
        if self.answerKey not in labels:
            raise InputError(f"answerKey = {self.answerKey!r} is none of the choices' labels ({', '.join(labels)}).")
        return self


class ARC(_MultipleChoice, frozen=True):
    question: str


class OpenBookQA(_MultipleChoice, frozen=True):
    question_stem: str


TaskName = Literal["boolq", "rte", "hellaswag", "arc_challenge", "mnli", "winogrande", "arc_easy", "openbookqa"]


@dataclass(frozen=True)
class Task:
    """A task by the harness's name.

    ``folder``: where the harness defines it, below its own folder of tasks; ``data_set``: what it reads from the hub.
    """

    name: TaskName
    title: str
    folder: str
    data_set: str
    document: type[Document]


TASKS: Mapping[TaskName, Task] = {
    task.name: task
    for task in (
        Task("boolq", "BoolQ", "super_glue/boolq", "aps/super_glue", BoolQ),
        Task("rte", "RTE", "glue/rte", "nyu-mll/glue", RTE),
        Task("hellaswag", "HellaSwag", "hellaswag", "Rowan/hellaswag", HellaSwag),
        Task("arc_challenge", "ARC-Challenge", "arc", "allenai/ai2_arc", ARC),
        Task("mnli", "MNLI", "glue/mnli", "nyu-mll/glue", MNLI),
        Task("winogrande", "WinoGrande", "winogrande", "allenai/winogrande", WinoGrande),
        Task("arc_easy", "ARC-Easy", "arc", "allenai/ai2_arc", ARC),
        Task("openbookqa", "OpenBookQA", "openbookqa", "allenai/openbookqa", OpenBookQA),
    )
}
