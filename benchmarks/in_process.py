"""One case, measured in a process of its own: seconds beside bare forwards, shares, memory; and how they grow."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from time import perf_counter, process_time
from typing import Any, TypeVar

import torch

from benchmarks.cases import CASES
from benchmarks.memory import peak_above_now
from benchmarks.shares import PARTS, Part, timed
from core.config import RunConfig
from core.engine import prune_model
from core.execution import calibration_tokens
from core.models.replay import capture
from core.models.sources import Embedded
from core.models.structure import decoder_blocks

T = TypeVar("T")


def alone(work: Callable[..., T], *args: Any) -> T:
    """What ``work`` returns, run in a fresh process, whose memory nothing else has touched."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(work, *args).result()


@dataclass
class Found:
    """Seconds of each round; seconds by part over all rounds; megabytes above the loaded model."""

    bare: list[float]
    pruning: list[float]
    parts: dict[Part, float]
    peak: float
    bare_peak: float


class Bench:
    """The embedded model with its dense weights beside it, and the calibration tokens."""

    def __init__(self, config: RunConfig, cpu: bool) -> None:
        if cpu:
            torch.set_num_threads(1)  # threads that wait for each other would count as work
        self._clock = process_time if cpu else perf_counter
        source = Embedded()
        self.config = config
        self.tokens = calibration_tokens(config, source)
        self.model = source.load().model
        for parameter in self.model.parameters():
            parameter.data = parameter.data.clone()  # in memory, not mapped from the file page by page while measured
        self._dense = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.layers = self.model.model.layers

    @torch.no_grad()
    def restore(self) -> None:
        for name, value in self.model.state_dict().items():
            value.copy_(self._dense[name])

    def keep_blocks(self, count: int) -> None:
        """Leaves the first ``count`` decoder blocks."""
        self.model.model.layers = self.layers[:count]
        self.model.config.num_hidden_layers = count

    @torch.no_grad()
    def bare(self, tokens: torch.Tensor | None = None) -> float:
        """Two forwards of the decoder blocks over the tokens; the seconds they take."""
        tokens = self.tokens if tokens is None else tokens
        begin = self._clock()
        blocks = decoder_blocks(self.model)
        for _ in range(2):
            stream = capture(self.model, blocks, tokens, self.config.calibration.batch_size)
            for block in blocks:
                for _ in stream.propagate(block):
                    pass
        return self._clock() - begin

    def prune(self, tokens: torch.Tensor | None = None) -> tuple[float, dict[Part, float]]:
        return timed(prune_model(self.model, self.config, self.tokens if tokens is None else tokens), self._clock)


def measure(case: str, windows: int, seqlen: int, rounds: int, cpu: bool = False, blocks: int | None = None) -> Found:
    """Bare forwards and pruning in turns, on the same weights, after one window of each to warm up.

    ``blocks``: of so many decoder blocks only, the first.
    """
    bench = Bench(CASES[case].run_config(windows, seqlen), cpu)
    if blocks:
        bench.keep_blocks(blocks)
    bench.bare(bench.tokens[:1])
    bench.prune(bench.tokens[:1])
    bench.restore()
    found = Found([], [], dict.fromkeys(PARTS, 0.0), peak=0.0, bare_peak=0.0)
    for number in range(rounds):
        first = number == 0  # once only: what malloc gives back for it has to be asked for again, which takes time
        with peak_above_now(first) as of_bare:
            found.bare.append(bench.bare())
        with peak_above_now(first) as of_pruning:
            seconds, by_part = bench.prune()
        found.pruning.append(seconds)
        for part, spent in by_part.items():
            found.parts[part] += spent
        if first:
            found.bare_peak, found.peak = of_bare.mb, of_pruning.mb
        bench.restore()
    return found


@dataclass(frozen=True)
class Growth:
    """Seconds of each round by number of windows and of blocks; megabytes above the model by number of blocks."""

    tokens: dict[int, list[float]]
    blocks: dict[int, list[float]]
    peaks: dict[int, float]
    block_mb: float


def growth(
    case: str, windows: tuple[int, ...], blocks: tuple[int, ...], seqlen: int, rounds: int, cpu: bool = False
) -> Growth:
    """Sizes in turns, so that a slow stretch of the machine falls on all of them."""
    bench = Bench(CASES[case].run_config(max(windows), seqlen), cpu)
    bench.prune(bench.tokens[:1])
    bench.restore()
    by_windows: dict[int, list[float]] = {count: [] for count in windows}
    by_blocks: dict[int, list[float]] = {count: [] for count in blocks}
    peaks: dict[int, float] = {}
    half = bench.tokens[: max(windows) // 2]
    for _ in range(rounds):
        for count in windows:
            by_windows[count].append(bench.prune(bench.tokens[:count])[0])
            bench.restore()
        for count in blocks:
            bench.keep_blocks(count)
            with peak_above_now() as peak:
                by_blocks[count].append(bench.prune(half)[0])
            peaks[count] = max(peaks.get(count, 0.0), peak.mb)
            bench.restore()
        bench.keep_blocks(len(bench.layers))
    weights = sum(parameter.nbytes for parameter in bench.layers[0].parameters())
    return Growth(by_windows, by_blocks, peaks, weights / 2**20)
