"""What every program's driver shares. Runs in the peers' environments too, which have torch, transformers and safetensors.

A driver is started as ``python -m benchmarks.peers.NAME_driver JOB``: JOB is a JSON file that says what to do. It writes the
answer to the file that the job names: the seconds of the work alone (no import, no loading, no saving), the rise of resident
memory above the loaded model, what became of the weights, versions.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from benchmarks.memory import peak_above_now

TOKENS = "tokens"
"""The calibration windows' name in their file."""


@dataclass(frozen=True)
class Job:
    """``cpu``: processor seconds of one thread are wanted. ``save``: where the pruned weights go, if they are."""

    work: str
    model: str
    tokens: str
    batch_size: int
    answer: str
    cpu: bool = False
    save: str | None = None

    def write(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def given(cls) -> Job:
        return cls(**json.loads(Path(sys.argv[1]).read_text()))


@dataclass(frozen=True)
class Answer:
    """``sparsity``: the smallest and the largest of any module's."""

    seconds: float
    peak_mb: float
    versions: dict[str, str]
    sparsity: tuple[float, float] | None = None
    matrices: int = 0

    @classmethod
    def read(cls, file: Path) -> Answer:
        return cls(**json.loads(file.read_text()))


def load(job: Job) -> Any:
    """The model in float32, in memory of its own, not mapped from the file page by page while it is measured."""
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32).eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model


def batches(job: Job) -> list[torch.Tensor]:
    """The calibration windows [batch, seqlen], a few at a time."""
    tokens = load_file(job.tokens)[TOKENS]
    return [*tokens.split(job.batch_size)]


def blocks_of(model: Any) -> dict[str, torch.Tensor]:
    """The weights [out, in] of every linear module of the decoder blocks."""
    return {
        f"model.layers.{name}.weight": module.weight.detach()
        for name, module in model.model.layers.named_modules()
        if isinstance(module, torch.nn.Linear)
    }


def measured(job: Job, work: Callable[[], Any]) -> tuple[Any, float, float]:
    """What ``work`` returns, its seconds, and the megabytes by which memory rose."""
    clock = process_time if job.cpu else perf_counter
    with peak_above_now() as peak:
        begin = clock()
        result = work()
        seconds = clock() - begin
    return result, seconds, peak.mb


def answer_pruned(job: Job, model: Any, seconds: float, peak_mb: float, packages: Sequence[str]) -> None:
    weights = blocks_of(model)
    shares = [float((weight == 0).float().mean()) for weight in weights.values()]
    if job.save:
        save_file({name: weight.contiguous().clone() for name, weight in weights.items()}, job.save)
    answer(job, Answer(seconds, peak_mb, versions(packages), (min(shares), max(shares)), len(weights)))


def answer(job: Job, found: Answer) -> None:
    Path(job.answer).write_text(json.dumps(asdict(found)))


def versions(packages: Sequence[str]) -> dict[str, str]:
    return {name: version(name) for name in (*packages, "torch", "transformers")}
