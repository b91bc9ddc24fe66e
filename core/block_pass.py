"""One block on its way through the engine: statistics, every module pruned, stages."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby

import torch
from transformers import PreTrainedModel

from core.aftercheck import (
    check_counts,
    check_factors,
    check_mask,
    check_refined,
    check_same,
    check_weight,
)
from core.allocation.base import Measured
from core.collecting import collect
from core.errors import InputError
from core.events import (
    Event,
    GroupRefined,
    ModuleEvent,
    ModulePruned,
    ModuleRefined,
    Working,
)
from core.layer_error import reconstruction_error
from core.methods import Method, Pruned
from core.models.factors import replace
from core.models.groups import BlockRun, SubBlock, SubBlockRun, sub_blocks
from core.models.replay import Stream
from core.models.structure import Block, read_weight, write_weight
from core.patterns import Pattern
from core.recipe import Recipe
from core.selection import trues
from core.stages import BlockStage, FactorStage, MaskStage, RefineStage, TuneStage, UpdateStage
from core.stages.base import Choice, Group, Refined, Tuned, WholeBlock
from core.statistics import InputStatistics


@dataclass
class BlockPass:
    """One block on its way through the recipe."""

    model: PreTrainedModel
    block: Block
    stream: Stream
    dense_stream: Stream | None
    recipe: Recipe
    sparsities: Mapping[str, float]
    measured: Measured
    sequences: int
    _inputs: dict[str, InputStatistics] = field(default_factory=dict)
    _dense: dict[str, torch.Tensor] = field(default_factory=dict)
    _pruned: dict[str, Pruned] = field(default_factory=dict)
    _told: dict[str, ModuleEvent] = field(default_factory=dict)
    _targets: list[torch.Tensor] = field(default_factory=list)
    """What the dense block gives for each batch, where a stage asks for it."""
    outputs: list[torch.Tensor] = field(default_factory=list, init=False)
    """What the pruned block gives for each batch, where the pass has found it out on its way; else empty."""

    def run(self) -> Iterator[Event]:
        started = time.perf_counter()
        outputs = self._targets if self.recipe.tune_stage else None
        self._inputs = yield from collect(self.block, self.stream, self.recipe.needs, self.sequences, outputs)
        if self.dense_stream:
            for batch in self.dense_stream.propagate(self.block):
                yield Working(text=f"{self.block.name}: dense output of batch {batch} of {len(self.stream.hidden)}")
            self._targets = list(self.dense_stream.hidden)
        share = (time.perf_counter() - started) / len(self.block.modules)
        for names in self._pruned_together():
            yield from self._prune(names, share)
        parts = sub_blocks(self.block)
        for stage in self.recipe.block_stages:
            for part in parts:
                last = stage is self.recipe.block_stages[-1] and part is parts[-1] and not self.recipe.reworks_block
                yield from self._refine(stage, part, last)
        if self.recipe.tune_stage:
            yield from self._tune(self.recipe.tune_stage)
        if self.recipe.factor_stage:
            for name, event in self._told.items():
                if self.recipe.factor_stage.chooses(name, event.label):
                    yield self._factor(self.recipe.factor_stage, name)

    def _pruned_together(self) -> Iterator[list[str]]:
        """The modules, those that read one input together where the method has a use for it."""
        if not self.recipe.config.method.joint or self.recipe.mask_stage:
            yield from ([name] for name in self.block.modules)
            return
        for _, names in groupby(self.block.modules, key=lambda name: id(self._inputs[name])):
            yield list(names)

    def _prune(self, names: list[str], share: float) -> Iterator[Event]:
        """``share``: the seconds that collecting the statistics of one module took."""
        started = time.perf_counter()
        # Possibly views of the modules' own weights, which are written last for that reason.
        dense = [read_weight(self.block.modules[name]).float() for name in names]
        try:
            if self.recipe.mask_stage:
                choices, results = yield from self._masked(self.recipe.mask_stage, names, dense)
            else:
                choices, results = [None] * len(names), self._pruned_by_method(names, dense)
        except InputError as problem:
            raise InputError(f"{', '.join(names)}: {problem}") from problem
        share += (time.perf_counter() - started) / len(names)
        for name, weight, choice, result in zip(names, dense, choices, results, strict=True):
            yield from self._accept(name, weight, choice, result, share)

    def _masked(
        self, stage: MaskStage, names: list[str], dense: list[torch.Tensor]
    ) -> Generator[Event, None, tuple[list[Choice | None], list[Pruned]]]:
        """What the method makes of the masks that ``stage`` chooses by its scores."""
        method = self.recipe.config.method
        choices: list[Choice | None] = []
        results: list[Pruned] = []
        for name, weight in zip(names, dense, strict=True):
            stats, sparsity = self._inputs[name], self.sparsities[name]
            choice: Choice | None = None
            for step in stage.choose(method.score(weight, stats), self.recipe.pattern.at(sparsity), sparsity):
                if isinstance(step, Choice):
                    choice = step
                else:
                    yield Working(text=f"{name}: {step}")
            assert choice is not None
            choices.append(choice)
            results.append(method.apply(weight, choice.keep, stats))
        return choices, results

    def _pruned_by_method(self, names: list[str], dense: list[torch.Tensor]) -> list[Pruned]:
        method: Method = self.recipe.config.method
        stats = self._inputs[names[0]]
        sparsities = [self.sparsities[name] for name in names]
        patterns = [self.recipe.pattern.at(sparsity) for sparsity in sparsities]
        if len(names) == 1:
            return [method.prune(dense[0], stats, patterns[0], sparsities[0])]
        return method.prune_joint(dense, stats, patterns, sparsities)

    def _accept(
        self, name: str, dense: torch.Tensor, choice: Choice | None, result: Pruned, seconds: float
    ) -> Iterator[Event]:
        """Checks a result, lets stages rework it, and puts it in its module's place; ``seconds``: what it took so far."""
        started = time.perf_counter()
        method, sparsity = self.recipe.config.method, self.sparsities[name]
        pattern, stored = self.recipe.pattern.at(sparsity), read_weight(self.block.modules[name])
        permutation = choice.permutation if choice else None
        check_mask(name, result.keep, method, pattern, sparsity, permutation)
        result = yield from self._reworked(name, dense, result, pattern, permutation)
        if self.recipe.looks_back:
            self._dense[name] = stored.clone()
        weight = result.weight.to(stored.dtype)
        event = ModulePruned(
            module=name,
            block=self.block.index,
            label=name.removeprefix(f"{self.block.name}."),
            shape=(dense.shape[0], dense.shape[1]),
            target=sparsity,
            pruned=result.keep.numel() - trues(result.keep),
            dead_inputs=_count(result.dead_inputs),
            error=reconstruction_error(dense, weight.float(), self._inputs[name]["sample"]),
            updated=_differ(weight, stored, result),
            seconds=seconds + time.perf_counter() - started,
            report={**self._measured_of(name), **(choice.report if choice else {}), **result.report},
            keep=result.keep,
            permutation=permutation,
        )
        self._put(name, result, " and ".join([method.name, *(stage.name for stage in self.recipe.reworking)]))
        self._told[name] = event
        yield event

    def _reworked(
        self, name: str, dense: torch.Tensor, result: Pruned, pattern: Pattern, permutation: torch.Tensor | None
    ) -> Generator[Event, None, Pruned]:
        """After the stages that refine a matrix's mask, and those that update its survivors."""
        for stage in self.recipe.reworking:
            before, by = result, f"stage = {stage.name}"
            if isinstance(stage, RefineStage) and not stage.chooses(name):
                continue
            yield Working(text=f"{name}: {stage.title}")
            try:
                if isinstance(stage, UpdateStage):
                    result = stage.update(dense, before, self._inputs[name])
                else:
                    result = stage.refine_mask(dense, before, self._inputs[name], pattern, permutation)
            except InputError as problem:
                raise InputError(f"{name}: {problem}") from problem
            check_refined(name, result.keep, pattern, permutation, by)
            check_counts(name, [before.keep], [result.keep], by)
            if isinstance(stage, UpdateStage):
                check_same(name, before.keep, result.keep, by)
        return result

    def _measured_of(self, name: str) -> dict[str, float]:
        value, quantity = self.measured.get(name), self.recipe.config.allocation.measures
        return {} if value is None or quantity is None else {quantity: value}

    def _put(self, name: str, result: Pruned, by: str) -> None:
        """Writes a result, checked, into its module."""
        module = self.block.modules[name]
        check_weight(name, result.weight.to(read_weight(module).dtype), None if result.untouched else result.keep, by)
        write_weight(module, result.weight)
        self._pruned[name] = result

    def _refine(self, stage: BlockStage, part: SubBlock, last: bool) -> Iterator[Event]:
        """``last``: nothing changes the block afterwards, so that its outputs may be kept."""
        started = time.perf_counter()
        dense = {name: self._dense[name].float() for name in part.modules}
        run = SubBlockRun(part, self.stream, dense, to_the_end=last)
        permutations = {name: self._told[name].permutation for name in part.modules}
        before = {name: self._pruned[name] for name in part.modules}
        group = Group(part.name, dense, before, run.gradients, run.losses)
        refined: Refined | None = None
        pattern = self.recipe.pattern.at(self.sparsities[next(iter(part.modules))])
        for step in stage.refine(group, pattern, permutations):
            if isinstance(step, Refined):
                refined = step
            else:
                yield Working(text=f"{self.block.name}: {step}")
        assert refined is not None
        seconds = (time.perf_counter() - started) / len(part.modules)
        keeps = [result.keep for result in refined.pruned.values()]
        known = [before[name].keep for name in refined.pruned]
        check_counts(f"{self.block.name}.{part.name}", known, keeps, f"stage = {stage.name}")
        for name, result in refined.pruned.items():
            check_refined(name, result.keep, pattern, permutations[name], f"stage = {stage.name}")
            self._put(name, result, f"stage = {stage.name}")
            yield self._tell_again(name, stage.name, seconds, refined.modules[name], result)
        if last:
            self.outputs = run.outputs({name: result.weight for name, result in refined.pruned.items()})
        yield GroupRefined(block=self.block.index, group=part.name, stage=stage.name, report=refined.report)

    def _tune(self, stage: TuneStage) -> Iterator[Event]:
        started, by = time.perf_counter(), f"stage = {stage.name}"
        before = dict(self._pruned)
        run = BlockRun(self.block, self.stream, self._targets)
        tuned: Tuned | None = None
        for step in stage.tune(WholeBlock(before, len(self._targets), run.loss)):
            if isinstance(step, Tuned):
                tuned = step
            else:
                yield Working(text=f"{self.block.name}: {step}")
        assert tuned is not None
        seconds = (time.perf_counter() - started) / len(before)
        for name, result in tuned.pruned.items():
            check_same(name, before[name].keep, result.keep, by)
            self._put(name, result, by)
            yield self._tell_again(name, stage.name, seconds, {}, result)
        yield GroupRefined(block=self.block.index, group="block", stage=stage.name, report=tuned.report)

    def _tell_again(
        self, name: str, stage: str, seconds: float, report: Mapping[str, float], result: Pruned
    ) -> ModuleRefined:
        told, dense = self._told[name], self._dense[name]
        weight = result.weight.to(dense.dtype)
        event = ModuleRefined(
            **told.model_dump(exclude={"event", "stage"})
            | {
                "stage": stage,
                "pruned": result.keep.numel() - trues(result.keep),
                "dead_inputs": _count(result.dead_inputs),
                "error": reconstruction_error(dense.float(), weight.float(), self._inputs[name]["sample"]),
                "seconds": told.seconds + seconds,
                "updated": _differ(weight, dense, result),
                "report": told.report | dict(report),
                "keep": result.keep,
                "permutation": told.permutation,
            }
        )
        self._told[name] = event
        return event

    def _factor(self, stage: FactorStage, name: str) -> ModuleRefined:
        started = time.perf_counter()
        told = self._told[name]
        factors = stage.factor(name, read_weight(self.block.modules[name]).float())
        check_factors(name, factors, f"stage = {stage.name}")
        replace(self.model, name, factors.left, factors.right)
        product = factors.left @ factors.right
        dense, sample = self._dense[name].float(), self._inputs[name]["sample"]
        return ModuleRefined(
            **told.model_dump(exclude={"event", "stage"})
            | {
                "stage": stage.name,
                "pruned": 0,
                "error": reconstruction_error(dense, product, sample),
                "seconds": told.seconds + time.perf_counter() - started,
                "updated": True,
                "report": told.report | factors.report,
                "factors": (factors.left, factors.right),
            }
        )


def _differ(weight: torch.Tensor, stored: torch.Tensor, result: Pruned) -> bool:
    """Whether surviving weights are not what they were. One row tells as a rule; only where it does not, all are compared."""
    if result.untouched:
        return False
    return any(not torch.equal(weight[:rows], stored[:rows] * result.keep[:rows]) for rows in (1, len(weight)))


def _count(marked: torch.Tensor | None) -> int:
    return 0 if marked is None else trues(marked)
