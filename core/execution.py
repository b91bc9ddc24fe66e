"""One run from beginning to end: read the text, load, measure dense, prune, measure pruned."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import TypeVar

import torch
from jaxtyping import Int
from transformers import PreTrainedModel

from core import phases
from core.allocation.base import Measured
from core.checks import check
from core.config import Identity, RunConfig, pinned_texts
from core.data.windows import windows_to_calibrate_on
from core.engine import prune_model
from core.evaluated import dense_subject
from core.evaluating import Text, described, evaluate, overlap_warnings, read_texts
from core.evaluation.result import CorpusPerplexity, Perplexity
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
    yield phases.reading(phases.texts_of(config))
    check(config, source.profile())
    calibration = calibration_tokens(config, source)
    texts = read_texts(config.evaluation, identity.evaluation_fingerprints, source)
    warnings = overlap_warnings(calibration, texts)
    for warning in warnings:
        yield Message(text=warning)

    yield phases.loading(source)
    loaded = load(source)
    model = loaded.model
    dense = yield from _dense_perplexities(config, identity, store, model, texts)

    measured = yield from known_or_measured(config, identity, store, model, calibration)
    prune_started = time.perf_counter()
    yield PhaseStarted(phase="Pruning", total=len(profile(model).modules))
    kept = yield from _pruned(model, config, calibration, measured)
    prune_seconds = time.perf_counter() - prune_started

    pruned = yield from evaluate(model, texts, "Measuring the pruned model")
    first, *further = [
        CorpusPerplexity(
            evaluated_on=described(text.label, text.windows), dense=dense[text.key], pruned=found.perplexity
        )
        for text, found in zip(texts, pruned, strict=True)
    ]
    result = RunResult(
        dense_perplexity=first.dense,
        perplexity=first.pruned,
        also=tuple(further),
        target_sparsity=config.sparsity,
        **footprint(kept.modules, next(model.parameters()).element_size()),
        figures=summary(kept.modules, kept.groups),
        evaluated_on=first.evaluated_on,
        calibrated_on=described(config.calibration.corpus.label("calibration"), calibration),
        prune_seconds=prune_seconds,
        seconds=time.perf_counter() - started,
        warnings=tuple(warnings),
        environment=_environment(loaded),
    )
    evaluated = {text.key: found for text, found in zip(texts, pruned, strict=True)}
    return Outcome(loaded, result, replace(kept, evaluated=evaluated))


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


def _dense_perplexities(
    config: RunConfig, identity: Identity, store: Store, model: PreTrainedModel, texts: Sequence[Text]
) -> Generator[Event, None, dict[str, Perplexity]]:
    """By the texts' keys: from the store where this model was measured on them before, else measured and kept there."""
    dense = dense_subject(config.model, identity.model_revision)
    known = {text.key: found for text in texts if (found := store.perplexity(dense, text.key))}
    if known:
        names = ", ".join(text.label for text in texts if text.key in known)
        yield Message(text=f"The dense model's perplexity on {names} is known from an earlier run.")
    missing = [text for text in texts if text.key not in known]
    if missing:
        measured = yield from evaluate(model, missing, "Measuring the dense model")
        for text, evaluated in zip(missing, measured, strict=True):
            store.keep_evaluated(dense, text.key, evaluated)
            known[text.key] = evaluated.perplexity
    return known


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
