"""A run, written down: everything that decides its numbers."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Sequence
from typing import Any, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from core.allocation import AnyAllocation, Uniform
from core.data import AnyCorpus, EmbeddedCorpus
from core.errors import InputError
from core.methods import AnyMethod
from core.methods.wanda import Wanda
from core.models.sources import AnySource, Embedded
from core.patterns import AnyPattern, Pattern, Unstructured
from core.stages import AnyStage, BlockStage, FactorStage, MaskStage, Stage, TuneStage, UpdateStage

DEFAULT_SPARSITY = 0.5
_SAME = 1e-9


class Calibration(BaseModel, frozen=True, extra="forbid"):
    """The text whose activations guide the pruning: ``windows`` random windows of ``seqlen`` tokens."""

    corpus: AnyCorpus = Field(default_factory=EmbeddedCorpus)
    windows: int = Field(
        16, ge=1, le=4096, title="Windows", description="Number of calibration windows; the literature uses 128."
    )
    seqlen: int = Field(256, ge=8, le=131072, title="Window length", description="Tokens in each calibration window.")
    seed: int = Field(0, ge=0, le=2**31 - 1, title="Seed", description="Decides which windows are drawn.")
    batch_size: int = Field(
        4, ge=1, le=1024, title="Batch size", description="Windows run at once; more is faster and needs more memory."
    )


class Evaluation(BaseModel, frozen=True, extra="forbid"):
    """The text on which dense and pruned are compared: non-overlapping windows, spread evenly where limited."""

    corpus: AnyCorpus = Field(default_factory=EmbeddedCorpus)
    windows: int | None = Field(
        40, ge=1, title="Windows", description="Evaluation windows, spread evenly over the text; 0: all of it."
    )
    seqlen: int = Field(256, ge=8, le=131072, title="Window length", description="Tokens in each evaluation window.")
    batch_size: int = Field(4, ge=1, le=1024, title="Batch size", description="Windows run at once.")
    also: tuple[AnyCorpus, ...] = Field(
        (),
        title="Further corpora",
        description="Measured besides, with as many windows of the same length.",
        exclude_if=operator.not_,  # runs from before there was this field keep their ids
    )

    @property
    def each(self) -> tuple[Evaluation, ...]:
        """The same on one corpus at a time."""
        return tuple(self.model_copy(update={"corpus": corpus, "also": ()}) for corpus in (self.corpus, *self.also))

    def pinned(self, fingerprints: Sequence[str]) -> Self:
        """The same with its corpora fixed to what the fingerprints, in the order of ``each``, say they were."""
        corpus, *also = (
            part.corpus.pinned(fingerprint) for part, fingerprint in zip(self.each, fingerprints, strict=True)
        )
        return self.model_copy(update={"corpus": corpus, "also": tuple(also)})

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        corpora = [corpus.canonical() for corpus in (self.corpus, *self.also)]
        for number, corpus in enumerate(self.also, start=1):
            if corpora.index(corpora[number]) < number:
                raise InputError(
                    f"evaluation.also names {corpus.described} again; a corpus is measured once, so leave it out."
                )
        return self

    @field_validator("windows", mode="before")
    @classmethod
    def _none_is_all(cls, windows: Any) -> Any:
        return None if windows in (0, "0", "all") else windows


class RunConfig(BaseModel, frozen=True, extra="forbid"):
    """Model, method, pattern, sparsity, allocation, calibration and evaluation of one run."""

    model: AnySource = Field(default_factory=Embedded)
    method: AnyMethod = Field(default_factory=Wanda)
    pattern: AnyPattern = Field(default_factory=Unstructured)
    sparsity: float = Field(
        DEFAULT_SPARSITY,
        title="Sparsity",
        description="Fraction of each module's weights that is pruned, in [0, 1).",
    )
    allocation: AnyAllocation = Field(default_factory=Uniform)
    stages: tuple[AnyStage, ...] = Field(
        (), title="Stages", description="Steps beside the method: reallocation, reconstruction, refinement, low rank."
    )
    calibration: Calibration = Field(default_factory=Calibration)
    evaluation: Evaluation = Field(default_factory=Evaluation)

    @model_validator(mode="before")
    @classmethod
    def _sparsity_from_pattern(cls, values: Any) -> Any:
        """Where the pattern fixes the sparsity, it is the pattern's to the last digit, given beside it or not."""
        if not isinstance(values, dict):
            return values
        values = dict(values)
        given = values.pop("sparsity", None)
        try:
            fixed = getattr(Pattern.coerce(values.get("pattern")), "sparsity", None)
            if fixed is not None and (given is None or abs(float(given) - fixed) < _SAME):
                given = fixed
        except (ValueError, TypeError):
            pass  # the fields' own validation says what is wrong
        return values if given is None else values | {"sparsity": given}

    @model_validator(mode="after")
    def _sparsity_fits(self) -> Self:
        if not 0 <= self.sparsity < 1:
            raise InputError(
                f"sparsity = {self.sparsity} is outside [0, 1); give the fraction of weights to prune, such as 0.5."
            )
        fixed = self.pattern.sparsity
        if fixed is not None and abs(fixed - self.sparsity) > _SAME:
            raise InputError(
                f"sparsity = {self.sparsity:g} contradicts pattern = {self.pattern.label}, which prunes {fixed:g} of the weights; "
                "leave the sparsity out or choose another pattern."
            )
        return self

    @field_validator("stages")
    @classmethod
    def _in_their_order(cls, stages: tuple[Stage, ...]) -> tuple[Stage, ...]:
        names = [stage.name for stage in stages]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(f"stages = {', '.join(names)} names {twice[0]} twice; a stage runs once.")
        return tuple(sorted(stages, key=lambda stage: stage.order))

    @model_validator(mode="after")
    def _allocation_fits(self) -> Self:
        if self.pattern.sparsity is not None and self.allocation.name != Uniform.name:
            raise InputError(
                f"allocation = {self.allocation.name} contradicts pattern = {self.pattern.label}, which prunes every module alike; "
                f"choose the uniform allocation, an unstructured pattern, or N:{self.pattern.span} with an N for every block."
            )
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        self.method.check(self.pattern)
        for stage in self.stages:
            stage.check(self.method, self.pattern)
        rounding = next((part for part in (self.method, *self.stages) if getattr(part, "bits", None)), None)
        for kind in (MaskStage, UpdateStage, TuneStage, FactorStage):
            alike = [stage.name for stage in self.stages if isinstance(stage, kind)]
            if len(alike) > 1:
                raise InputError(f"stages = {' and '.join(alike)} do the same thing in two ways; choose one of them.")
        updating = next((stage for stage in self.stages if isinstance(stage, UpdateStage)), None)
        resetting = next((stage for stage in self.stages if isinstance(stage, BlockStage) and stage.resets), None)
        if updating and resetting:
            raise InputError(
                f"stage = {resetting.name} resets the survivors to their dense values, which undoes stage = {updating.name}; "
                "let it keep the reconstruction, or leave one of them out."
            )
        changing = next(
            (stage for stage in self.stages if isinstance(stage, BlockStage | TuneStage | FactorStage)), None
        )
        if rounding and changing:
            raise InputError(
                f"stage = {changing.name} does not go with {rounding.kind} = {rounding.name} and bits: it would take weights off "
                "the grid they were rounded to; leave one of them out."
            )
        return self

    @model_validator(mode="after")
    def _windows_to_hold_out(self) -> Self:
        tuning = next((stage for stage in self.stages if isinstance(stage, TuneStage)), None)
        if tuning and self.calibration.windows < 2:
            raise InputError(
                f"calibration.windows = {self.calibration.windows} is too few for stage = {tuning.name}, which holds some out; "
                "give it two or more."
            )
        return self

    @property
    def one_by_one(self) -> bool:
        """Whether windows are run one at a time, since a stage takes gradients of each."""
        return any(isinstance(stage, BlockStage | TuneStage) for stage in self.stages)

    def canonical(self) -> str:
        """The same JSON text for the same config, whatever the order in which it was given."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))

    @property
    def needs(self) -> frozenset[str]:
        """Names of the input statistics that method and stages read."""
        needs: frozenset[str] = self.method.needs.union(*(stage.needs for stage in self.stages))
        return needs

    @property
    def versions(self) -> tuple[int, ...]:
        """Of method, pattern, allocation and stages."""
        return tuple(part.version for part in (self.method, self.pattern, self.allocation, *self.stages))

    @property
    def title(self) -> str:
        """A short name for lists: method, pattern, sparsity."""
        percent = f"{100 * self.sparsity:g} %"
        plain = self.pattern.sparsity is None and self.pattern.mixes is None
        shape = percent if plain else f"{self.pattern.label} ({percent})"
        parts = [f"{self.method.title} {shape}", *(stage.described for stage in self.stages)]
        if self.allocation.name != Uniform.name:
            parts.insert(1, self.allocation.described)
        return " + ".join(parts)


class Identity(BaseModel, frozen=True):
    """What a config's words stood for when it was run: a run's id is the hash of config and identity together."""

    model_revision: str
    calibration_fingerprint: str
    evaluation_fingerprint: str
    versions: tuple[int, ...] = ()
    """Of method, pattern, allocation and stages."""
    also_fingerprints: tuple[str, ...] = Field((), exclude_if=operator.not_)
    """Of the further evaluation corpora."""

    @property
    def evaluation_fingerprints(self) -> tuple[str, ...]:
        """Of every evaluation corpus, in the order of ``Evaluation.each``."""
        return (self.evaluation_fingerprint, *self.also_fingerprints)

    def run_id(self, config: RunConfig) -> str:
        text = config.canonical() + self.model_dump_json()
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def pinned_texts(config: RunConfig, identity: Identity) -> RunConfig:
    """The same config with its corpora fixed to what ``identity`` says they were."""
    calibration, evaluation = config.calibration, config.evaluation
    calibrated_on = calibration.corpus.pinned(identity.calibration_fingerprint)
    return config.model_copy(
        update={
            "calibration": calibration.model_copy(update={"corpus": calibrated_on}),
            "evaluation": evaluation.pinned(identity.evaluation_fingerprints),
        }
    )


def identify(config: RunConfig) -> Identity:
    """Resolves the model's revision and the corpora's fingerprints.

    Raises InputError (one sentence) where the model or a text cannot be found or reached.
    """
    evaluated, *also = fingerprints(config.evaluation)
    return Identity(
        model_revision=config.model.revision_key(),
        calibration_fingerprint=config.calibration.corpus.fingerprint("calibration"),
        evaluation_fingerprint=evaluated,
        versions=config.versions,
        also_fingerprints=tuple(also),
    )


def fingerprints(evaluation: Evaluation) -> tuple[str, ...]:
    """Of every corpus, in order. Raises InputError where a text cannot be found or reached."""
    return tuple(part.corpus.fingerprint("evaluation") for part in evaluation.each)


def check_identity(config: RunConfig, identity: Identity) -> None:
    """Raises InputError where a word of ``config`` no longer stands for what it did, as a text that was changed since."""
    model = config.model.pinned(identity.model_revision)
    now = identify(pinned_texts(config, identity).model_copy(update={"model": model}))
    what = {
        "model_revision": "model",
        "calibration_fingerprint": "calibration text",
        "evaluation_fingerprint": "evaluation text",
        "versions": "program",
        "also_fingerprints": "further evaluation text",
    }
    for name in Identity.model_fields:
        if getattr(now, name) != getattr(identity, name):
            raise InputError(
                f"The run's {what[name]} has changed since it was submitted; submit it again as it is now."
            )
