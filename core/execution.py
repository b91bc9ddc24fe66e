"""One run from beginning to end: read the text, load, measure dense, prune, measure pruned."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from importlib.metadata import version

import pandas as pd
import torch
from jaxtyping import Int

from core.checks import check
from core.config import Evaluation, Identity, RunConfig
from core.data.windows import calibration_windows, evaluation_windows, overlapping_windows, tokenize
from core.engine import prune_model
from core.evaluation.perplexity import window_losses
from core.evaluation.result import Perplexity, perplexity
from core.events import Event, Message, ModulePruned, PhaseStarted, Progress
from core.models.sources import LoadedModel, ModelSource
from core.models.structure import decoder_blocks, profile, read_weight
from core.store import RunResult, Store
from core.store.artifacts import pack, unpack
from core.store.store import module_table
from core.version import __version__

Loader = Callable[[ModelSource], LoadedModel]


@dataclass(frozen=True)
class Outcome:
    """A finished run in memory: the pruned model, what was measured, and the packed keep masks by module name."""

    loaded: LoadedModel
    result: RunResult
    modules: pd.DataFrame
    masks: dict[str, torch.Tensor]

    def survivors(self) -> dict[str, torch.Tensor]:
        """The surviving weights [kept] of the modules that the method updated, in mask order."""
        weights = {
            name: read_weight(module)
            for block in decoder_blocks(self.loaded.model)
            for name, module in block.modules.items()
        }
        return {
            row.module: weights[row.module].cpu()[unpack(self.masks[row.module], (row.rows, row.columns))]
            for row in self.modules.itertuples()
            if row.updated
        }


def execute(
    config: RunConfig, identity: Identity, store: Store, load: Loader = ModelSource.load
) -> Generator[Event, None, Outcome]:
    """Runs ``config`` and tells of it; returns the outcome. Close the generator to stop.

    The text is read and checked before the model's weights are loaded, and the dense perplexity is taken from the store
    where it is known. Raises InputError for what the user can mend.
    """
    started = time.perf_counter()
    source = config.model.pinned(identity.model_revision)
    yield PhaseStarted(phase="Reading the text")
    check(config, source.profile())
    calibration = calibration_tokens(config, source)
    evaluation = evaluation_tokens(config, source)
    warnings = _overlap_warning(calibration, evaluation)
    for warning in warnings:
        yield Message(text=warning)

    yield PhaseStarted(phase="Loading the model")
    loaded = load(source)
    model = loaded.model
    dense = yield from _dense_perplexity(config, identity, store, loaded, evaluation)

    blocks = len(decoder_blocks(model))
    yield PhaseStarted(phase="Pruning", total=blocks * len(profile(model).labels))
    pruned_modules: list[ModulePruned] = []
    masks: dict[str, torch.Tensor] = {}
    prune_started = time.perf_counter()
    for event in prune_model(model, config, calibration):
        yield event
        if isinstance(event, ModulePruned):
            assert event.keep is not None
            masks[event.module] = pack(event.keep)
            pruned_modules.append(event.model_copy(update={"keep": None}))
            yield Progress(done=len(pruned_modules))
    prune_seconds = time.perf_counter() - prune_started

    pruned = yield from _measure("Measuring the pruned model", loaded, evaluation, config.evaluation)
    itemsize = next(model.parameters()).element_size()
    parameters = sum(event.parameters for event in pruned_modules)
    zeros = sum(event.pruned for event in pruned_modules)
    result = RunResult(
        dense_perplexity=dense,
        perplexity=pruned,
        target_sparsity=config.sparsity,
        pruned=zeros,
        parameters=parameters,
        dense_bytes=parameters * itemsize,
        bitmask_bytes=(parameters - zeros) * itemsize + sum(bits.numel() for bits in masks.values()),
        evaluated_on=_described(config.evaluation.corpus.label, evaluation),
        calibrated_on=_described(config.calibration.corpus.label, calibration),
        prune_seconds=prune_seconds,
        seconds=time.perf_counter() - started,
        warnings=tuple(warnings),
        environment=_environment(loaded),
    )
    return Outcome(loaded, result, module_table(pruned_modules), masks)


def calibration_tokens(config: RunConfig, source: ModelSource) -> Int[torch.Tensor, "n seqlen"]:
    """The calibration windows of ``config``. Raises InputError where the text is too short."""
    part = config.calibration
    tokens = tokenize(part.corpus, "calibration", source.load_tokenizer())
    return calibration_windows(tokens, part.windows, part.seqlen, part.seed)


def evaluation_tokens(config: RunConfig, source: ModelSource) -> Int[torch.Tensor, "n seqlen"]:
    """The evaluation windows of ``config``. Raises InputError where the text is too short."""
    part = config.evaluation
    tokens = tokenize(part.corpus, "evaluation", source.load_tokenizer())
    return evaluation_windows(tokens, part.windows, part.seqlen)


def _overlap_warning(calibration: torch.Tensor, evaluation: torch.Tensor) -> list[str]:
    shared = overlapping_windows(calibration, evaluation)
    if not shared:
        return []
    return [
        f"{shared} of {len(evaluation)} evaluation windows share text with the calibration windows, "
        "so the perplexity may be too good; choose different texts."
    ]


def _dense_perplexity(
    config: RunConfig, identity: Identity, store: Store, loaded: LoadedModel, windows: torch.Tensor
) -> Generator[Event, None, Perplexity]:
    """From the store where this model was measured on these windows before, else measured and kept there."""
    text = "|".join(
        [
            identity.model_revision,
            config.model.canonical(),
            identity.evaluation_fingerprint,
            config.evaluation.model_dump_json(),
        ]
    )
    key = f"dense perplexity {hashlib.sha256(text.encode()).hexdigest()[:32]}"
    if known := store.fact(key):
        yield Message(text="The dense model's perplexity is known from an earlier run.")
        return Perplexity.model_validate(known)
    measured = yield from _measure("Measuring the dense model", loaded, windows, config.evaluation)
    store.remember(key, measured.model_dump(mode="json"))
    return measured


def _measure(
    phase: str, loaded: LoadedModel, windows: torch.Tensor, evaluation: Evaluation
) -> Generator[Event, None, Perplexity]:
    yield PhaseStarted(phase=phase, total=len(windows))
    losses: list[float] = []
    for batch in window_losses(loaded.model, windows, evaluation.batch_size):
        losses += batch
        yield Progress(done=len(losses))
    return perplexity(losses, evaluation.seqlen)


def _described(corpus: str, windows: torch.Tensor) -> str:
    return f"{corpus}, {windows.shape[0]} × {windows.shape[1]} tokens"


def _environment(loaded: LoadedModel) -> dict[str, str]:
    parameter = next(loaded.model.parameters())
    return {
        "prunescope": __version__,
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "python": platform.python_version(),
        "device": str(parameter.device),
        "dtype": str(parameter.dtype).removeprefix("torch."),
    }


def drain(steps: Generator[Event, None, Outcome], report: Callable[[Event], None]) -> Outcome:
    """Runs a generator of events to its end, reporting each; returns what it returns."""
    iterator: Iterator[Event] = steps
    while True:
        try:
            event = next(iterator)
        except StopIteration as stop:
            outcome: Outcome = stop.value
            return outcome
        report(event)
