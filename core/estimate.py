"""How long a run will take and how much memory, before it starts."""

from __future__ import annotations

import socket
import statistics
import time
from collections.abc import Sequence
from itertools import islice

from pydantic import BaseModel

from core.config import RunConfig
from core.evaluation import LOGITS_AT_ONCE
from core.lazy import torch
from core.profile import ModelProfile
from core.stages import TuneStage
from core.statistics.sample import SAMPLE_TOKENS
from core.store import Run, Store

_EFFICIENCY = 0.6
"""Share of a large matrix product's speed that a model's forward reaches; the machine's own runs correct it."""

_LATEST = 5
"""So many of the runs that are alike correct the times."""


class Estimate(BaseModel, frozen=True):
    """Predicted seconds by phase, and peak memory in bytes; ``from_runs`` of this machine corrected the times."""

    dense_seconds: float
    measure_seconds: float
    """For what the allocation rests on."""
    prune_seconds: float
    pruned_seconds: float
    memory: float
    from_runs: int

    @property
    def seconds(self) -> float:
        return self.dense_seconds + self.measure_seconds + self.prune_seconds + self.pruned_seconds


def estimate(
    config: RunConfig,
    profile: ModelProfile,
    flops_per_second: float,
    history: Sequence[Run],
    dense_known: bool,
    measured: bool = False,
) -> Estimate:
    """Counts multiply-adds, divides by this machine's speed, and scales by how far earlier runs of the method were off.

    ``dense_known``, ``measured``: the dense perplexity, or what the allocation rests on, need not be measured any more.
    """
    rate = flops_per_second * _EFFICIENCY
    forward = _evaluation_flops(config, profile) / rate
    pruning = _pruning_flops(config, profile) / rate
    comparable = islice((run for run in history if _comparable(run, config)), _LATEST)
    factors = [_off_by(run, profile, rate) for run in comparable]
    factor = statistics.median(factors) if factors else 1.0
    return Estimate(
        dense_seconds=0.0 if dense_known else forward * factor,
        measure_seconds=0.0 if measured else _measuring_flops(config, profile) / rate,
        prune_seconds=pruning * factor,
        pruned_seconds=forward * factor,
        memory=_memory(config, profile),
        from_runs=len(factors),
    )


def _comparable(run: Run, config: RunConfig) -> bool:
    return (
        run.result is not None
        and run.config.method.name == config.method.name
        and run.config.pattern.name == config.pattern.name
        and [stage.name for stage in run.config.stages] == [stage.name for stage in config.stages]
        and run.config.model == config.model
    )


def _off_by(run: Run, profile: ModelProfile, rate: float) -> float:
    assert run.result is not None
    return run.result.prune_seconds / (_pruning_flops(run.config, profile) / rate)


def _evaluation_flops(config: RunConfig, profile: ModelProfile) -> float:
    windows = config.evaluation.windows or 250
    head = profile.vocabulary * profile.hidden_size
    texts = len(config.evaluation.each)
    return 2.0 * (profile.prunable + head) * texts * windows * config.evaluation.seqlen


def _pruning_flops(config: RunConfig, profile: ModelProfile) -> float:
    """Two forwards of the blocks, on the sample of tokens where nothing is needed of the text; Gram matrices and solve; stages."""
    needs = config.needs
    text = needs or config.one_by_one
    tokens = config.calibration.windows * config.calibration.seqlen if text else SAMPLE_TOKENS
    flops = 4.0 * profile.prunable * tokens + 60.0 * profile.prunable
    if "gram" in needs:
        flops += sum(2.0 * tokens * m.shape[1] ** 2 + 2.0 * m.parameters * m.shape[1] for m in profile.modules)
    for stage in config.stages:
        flops += sum(stage.flops(module.shape, tokens) for module in profile.modules)
    return flops


def _measuring_flops(config: RunConfig, profile: ModelProfile) -> float:
    return float(config.allocation.flops(profile, config.calibration.windows * config.calibration.seqlen))


def _memory(config: RunConfig, profile: ModelProfile) -> float:
    itemsize = {"float32": 4, "bfloat16": 2, "float16": 2}.get(config.model.dtype, profile.itemsize)
    hidden = config.calibration.windows * config.calibration.seqlen * profile.hidden_size * itemsize
    first = [module for module in profile.modules if module.block == 0]
    grams = sum(4.0 * module.shape[1] ** 2 for module in first) if "gram" in config.needs else 0.0
    if any(isinstance(stage, TuneStage) for stage in config.stages):  # weights, gradients, Adam's two, the best so far
        grams += 24.0 * sum(module.parameters for module in first) + hidden
    every = config.evaluation.batch_size * config.evaluation.seqlen * profile.vocabulary
    logits = 3.0 * min(every, LOGITS_AT_ONCE) * 4
    widest = max(module.parameters for module in first)
    return profile.parameters * itemsize + 2.0 * hidden + grams + max(logits, 24.0 * widest)


def known_speed(store: Store) -> float:
    """Multiply-adds (two flops each) per second of this machine's default device, measured once."""
    key = f"speed {socket.gethostname()}"
    if known := store.fact(key):
        return float(known["flops_per_second"])
    speed = measure_speed()
    store.remember(key, {"flops_per_second": speed})
    return speed


def stored_speed(store: Store) -> float | None:
    known = store.fact(f"speed {socket.gethostname()}")
    return float(known["flops_per_second"]) if known else None


def measure_speed(size: int = 1024, repeats: int = 5) -> float:
    """Flops per second of a float32 matrix product, the best of ``repeats``."""
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    a = torch.randn(size, size, device=device)
    best = float("inf")
    for _ in range(repeats + 1):  # the first one warms up
        started = time.perf_counter()
        float((a @ a)[0, 0])
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best
