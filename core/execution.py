"""One run from beginning to end: read the text, load, measure dense, prune, measure pruned."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeVar

import torch
from jaxtyping import Int
from transformers import PreTrainedModel

from core.allocation.base import Measured
from core.checks import check
from core.config import Evaluation, Identity, RunConfig, pinned_texts
from core.data.windows import overlapping_windows, windows_to_calibrate_on, windows_to_evaluate_on
from core.engine import prune_model
from core.evaluation.perplexity import window_losses
from core.evaluation.result import Perplexity, perplexity
from core.events import Event, GroupRefined, Message, ModuleEvent, PhaseStarted, Progress
from core.figures import footprint, group_table, module_table, summary
from core.measured import measured_values, remember_measured
from core.measuring import measure
from core.models.sources import LoadedModel, ModelSource
from core.models.structure import decoder_blocks, profile, read_weight
from core.store import RunResult, Store
from core.store.artifacts import Artifacts, left_key, pack, right_key, unpack
from core.version import __version__

T = TypeVar("T")
Loader = Callable[[ModelSource], LoadedModel]


@dataclass(frozen=True)
class Outcome:
    """A finished run in memory: the pruned model, what was measured, and what of it is kept."""

    loaded: LoadedModel
    result: RunResult
    artifacts: Artifacts


def execute(
    config: RunConfig, identity: Identity, store: Store, load: Loader = ModelSource.load
) -> Generator[Event, None, Outcome]:
    """Runs ``config`` and tells of it; returns the outcome. Close the generator to stop.

    The text is read and checked before the model's weights are loaded, and the dense perplexity is taken from the store
    where it is known. Raises InputError for what the user can mend.
    """
    started = time.perf_counter()
    source = config.model.pinned(identity.model_revision)
    config = pinned_texts(config, identity)
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

    measured = yield from known_or_measured(config, identity, store, model, calibration)
    prune_started = time.perf_counter()
    yield PhaseStarted(phase="Pruning", total=len(profile(model).modules))
    kept = yield from _pruned(model, config, calibration, measured)
    prune_seconds = time.perf_counter() - prune_started

    pruned = yield from _measure("Measuring the pruned model", loaded, evaluation, config.evaluation)
    result = RunResult(
        dense_perplexity=dense,
        perplexity=pruned,
        target_sparsity=config.sparsity,
        **footprint(kept.modules, next(model.parameters()).element_size()),
        figures=summary(kept.modules, kept.groups),
        evaluated_on=_described(config.evaluation.corpus.label("evaluation"), evaluation),
        calibrated_on=_described(config.calibration.corpus.label("calibration"), calibration),
        prune_seconds=prune_seconds,
        seconds=time.perf_counter() - started,
        warnings=tuple(warnings),
        environment=_environment(loaded),
    )
    return Outcome(loaded, result, kept)


def known_or_measured(
    config: RunConfig, identity: Identity, store: Store, model: PreTrainedModel, calibration: torch.Tensor
) -> Generator[Event, None, Measured]:
    """What the allocation rests on, from the store where it is known, else measured and kept there."""
    known = measured_values(config, identity, store)
    if known is not None:
        return known
    yield PhaseStarted(phase="Measuring the layers", total=profile(model).blocks)
    measured = yield from measure(model, config, calibration)
    remember_measured(config, identity, store, measured)
    return measured


def _pruned(
    model: PreTrainedModel, config: RunConfig, calibration: torch.Tensor, measured: Measured
) -> Generator[Event, None, Artifacts]:
    """Prunes ``model`` and gathers, as it goes, what a run keeps."""
    modules: dict[str, ModuleEvent] = {}
    groups: list[GroupRefined] = []
    masks: dict[str, torch.Tensor] = {}
    permutations: dict[str, torch.Tensor] = {}
    factors: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for event in prune_model(model, config, calibration, measured):
        yield event
        if isinstance(event, GroupRefined):
            groups.append(event)
        if not isinstance(event, ModuleEvent):
            continue
        modules[event.module] = event.model_copy(update={"keep": None, "permutation": None, "factors": None})
        if event.keep is not None:
            masks[event.module] = pack(event.keep)
        if event.permutation is not None:
            permutations[event.module] = event.permutation.int().cpu()
        if event.factors is not None:
            factors[event.module] = event.factors
            del masks[event.module]
        yield Progress(done=len(modules))
    return Artifacts(
        module_table(list(modules.values())),
        group_table(groups),
        masks,
        permutations,
        _weights(model, modules.values(), masks, factors),
    )


def _weights(
    model: PreTrainedModel,
    modules: Iterable[ModuleEvent],
    masks: Mapping[str, torch.Tensor],
    factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
) -> dict[str, torch.Tensor]:
    """What mask and dense model do not tell: survivors [kept], in mask order, of updated modules; factors."""
    weights = {
        name: read_weight(module)
        for block in decoder_blocks(model)
        for name, module in block.modules.items()
        if name in masks
    }
    kept = {
        event.module: weights[event.module].cpu()[unpack(masks[event.module], event.shape)]
        for event in modules
        if event.updated and event.module in masks
    }
    for name, (left, right) in factors.items():
        kept |= {left_key(name): left.cpu(), right_key(name): right.cpu()}
    return kept


def calibration_tokens(config: RunConfig, source: ModelSource) -> Int[torch.Tensor, "n seqlen"]:
    """The calibration windows of ``config``. Raises InputError where the text is too short."""
    part = config.calibration
    return windows_to_calibrate_on(part.corpus, source.load_tokenizer(), part.windows, part.seqlen, part.seed)


def evaluation_tokens(config: RunConfig, source: ModelSource) -> Int[torch.Tensor, "n seqlen"]:
    """The evaluation windows of ``config``. Raises InputError where the text is too short."""
    part = config.evaluation
    return windows_to_evaluate_on(part.corpus, source.load_tokenizer(), part.windows, part.seqlen)


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


def drain(steps: Generator[Event, None, T], report: Callable[[Event], None]) -> T:
    """Runs a generator of events to its end, reporting each; returns what it returns."""
    while True:
        try:
            event = next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        report(event)
