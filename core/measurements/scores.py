"""The scores of a block's modules under one method, on the inputs that a run saw there."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, ClassVar

from core.errors import InputError, NotFound
from core.events import Event, PhaseStarted, Progress
from core.measurements.of_model import OfModel
from core.methods import AnyMethod

if TYPE_CHECKING:
    import torch

    from core.block_inputs import BlockInputs
    from core.measurements.base import Loader
    from core.scoring.scored import Scored
    from core.store import Run, Store


def inputs_file(block: int) -> str:
    """What the inputs and dense weights of a block are kept as, among what is kept of a run."""
    return f"scores/inputs of block {block}"


class Scores(OfModel):
    """Scores of every module of ``block`` under ``method``, and the mask it would choose in the place of the run's own method.

    They belong to the run: they go when it is deleted or repeated. The inputs are collected once for all methods.
    """

    name: ClassVar[str] = "scores"
    title: ClassVar[str] = "Scores"

    block: int
    method: AnyMethod

    @property
    def label(self) -> str:
        return f"Scores: {self.whose}, block {self.block}, {self.method.described}"

    @property
    def file(self) -> str:
        """What they are kept as, among what is kept of the run."""
        written = f"{self.version} {self.method.version} {self.method.canonical()}"
        return f"scores/{self.method.name} {hashlib.sha256(written.encode()).hexdigest()[:8]} of block {self.block}"

    def of_the_run(self, run: Run) -> bool:
        """Whether it is the method that chose the run's own masks; then these count, and no other is chosen."""
        return bool(self.method == run.config.method)

    def known(self, store: Store) -> bool:
        return self.run is not None and store.tensors(self.run, self.file) is not None

    def steps(self, store: Store, load: Loader) -> Generator[Event, None, None]:
        from core.store.artifacts import pack

        if self.run is None:
            raise InputError("run = None: scores are those of a run; name one.")
        run = store.run(self.run)
        inputs = yield from self._inputs(run, store, load)
        yield PhaseStarted(phase=f"Scores of {self.method.title}", total=len(inputs.weights))
        tensors: dict[str, torch.Tensor] = {}
        facts = {}
        for name, found in self._scored(run, inputs, store):
            facts[name] = found.facts.model_dump(mode="json")
            if found.scores is not None:
                tensors[f"scores of {name}"] = found.scores.contiguous()
            if not self.of_the_run(run):
                tensors[f"keep of {name}"] = pack(found.keep)
            yield Progress(done=len(facts))
        self.check_attempt(store)
        store.keep_tensors(run.id, self.file, tensors, facts)

    def _inputs(self, run: Run, store: Store, load: Loader) -> Generator[Event, None, BlockInputs]:
        from core.block_inputs import collected_inputs, keep_inputs, known_inputs

        self.check_attempt(store)
        found = known_inputs(run, self.block, store)
        if found is None:
            found = yield from collected_inputs(run, self.block, store, load)
            self.check_attempt(store)
            keep_inputs(run, self.block, found, store)
        return found

    def _scored(self, run: Run, inputs: BlockInputs, store: Store) -> Iterator[tuple[str, Scored]]:
        """Module by module; those that were replaced by factors have no weights left to be asked about."""
        from core.scoring.scored import scored

        targets, orders = store.modules(run.id).set_index("module").target, store.permutations(run.id)
        for name, weight in inputs.weights.items():
            try:
                mask = store.mask(run.id, name)
            except NotFound:
                continue
            known, order = (mask, orders.get(name)) if self.of_the_run(run) else (None, None)
            pattern = run.config.pattern.resolve(self.method.group).at(targets[name])
            try:
                found = scored(
                    self.method, weight.float(), inputs.statistics[name], pattern, targets[name], known, order
                )
            except InputError as problem:
                raise InputError(f"{name}: {problem}") from problem
            yield name, found
