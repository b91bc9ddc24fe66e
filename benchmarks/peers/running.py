"""Runs one program on one job, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.contests import OURS
from benchmarks.peers.driver import Answer, Job

ROOT = Path(__file__).parents[2]
_LIMIT = 3600
_SLOWER = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")  # choose plainer kernels than the processor has


class Failed(Exception):
    """The program's last line."""


@dataclass(frozen=True)
class Place:
    """Where what the programs read and write lies."""

    folder: Path
    model: Path
    batch_size: int
    cpu: bool = False
    """Processor seconds of one thread."""

    @property
    def tokens(self) -> Path:
        return self.folder / "tokens.safetensors"

    def weights(self, program: str) -> Path:
        return self.folder / f"{program}.safetensors"


def run(place: Place, python: Path | None, program: str, work: str, save: Path | None) -> Answer:
    """``python``: of the peer's environment; None for ours. Raises Failed where there is no answer."""
    job_file, answer = place.folder / "job.json", place.folder / "answer.json"
    answer.unlink(missing_ok=True)
    files = {"model": str(place.model), "tokens": str(place.tokens), "answer": str(answer)}
    Job(work=work, batch_size=place.batch_size, cpu=place.cpu, save=str(save) if save else None, **files).write(
        job_file
    )
    driver = "ours" if program == OURS else program
    command = [str(python or sys.executable), "-m", f"benchmarks.peers.{driver}_driver", str(job_file)]
    plain = {name: value for name, value in os.environ.items() if name not in _SLOWER}
    environment = plain | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": ""}
    if place.cpu:  # threads that wait for each other would count as work
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    try:
        found = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=_LIMIT, check=False
        )
    except subprocess.TimeoutExpired:
        raise Failed(f"not done after {_LIMIT} s") from None
    if found.returncode or not answer.is_file():
        lines = (found.stderr or found.stdout).strip().splitlines()
        raise Failed(lines[-1] if lines else f"ended with {found.returncode}")
    return Answer.read(answer)
