"""What is kept of one module's scores under one method, opened to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from core.difference import Overlap, mask_overlap
from core.errors import NotFound
from core.lazy import torch
from core.measurements.scores import Scores, inputs_file
from core.methods import Method
from core.methods.magnitude import Magnitude
from core.methods.wanda import Wanda
from core.scoring.aggregate import Window, aggregate
from core.scoring.comparison import Comparison, comparison
from core.scoring.scored import ScoreFacts
from core.scoring.weight import Place, place, sentence
from core.stages import BlockStage, RefineStage
from core.store import Run, Store
from core.store.artifacts import KeptTensors


@dataclass(frozen=True)
class ModuleScores:
    """Scores and mask of ``module`` under ``method``; matrices are read from the disk where they are looked at."""

    run: Run
    module: str
    shape: tuple[int, int]
    method: Method
    facts: ScoreFacts
    compared: Comparison | None
    own: bool
    """Whether it is the run's own method, so that the mask is the run's."""
    _kept: KeptTensors
    _store: Store

    @cached_property
    def scores(self) -> np.ndarray | None:
        """[out, in] float32, or None where the method has none of a whole matrix."""
        name = f"scores of {self.module}"
        return self._kept[name].numpy() if name in self._kept else None

    @cached_property
    def keep(self) -> np.ndarray:
        """[out, in], True where a weight survives."""
        packed, shape = self.packed
        return np.unpackbits(packed, count=shape[0] * shape[1]).view(bool).reshape(shape)

    @cached_property
    def packed(self) -> tuple[np.ndarray, tuple[int, int]]:
        """The mask as bits, and its shape."""
        if self.own:
            return self._store.packed_mask(self.run.id, self.module)
        return self._kept[f"keep of {self.module}"].numpy(), self.shape

    def place(self, row: int, column: int) -> Place | None:
        """Where a weight stands; None where the method has no scores, or does not tell what they compete with."""
        if self.scores is None or self.compared is None:
            return None
        cut = self.facts.cut.median if self.facts.cut and self.facts.cut.groups == 1 else None
        return place(self.scores, self.keep, row, column, self.compared, cut)

    def why(self, row: int, column: int, weight: float, norm: float, found: Place | None) -> str:
        """One sentence: why the weight stays or goes. ``found``: its place."""
        if found is not None and self.compared is not None:
            return sentence(self.method, weight, norm, found, self.compared, self._decided)
        fate = "kept" if self.keep[row, column] else "pruned"
        return f"{self.facts.note or 'The pattern does not tell which scores compete with each other.'} The weight is {fate}."

    @property
    def _decided(self) -> str:
        """What else took part in the mask."""
        changing = (stage.title for stage in self.run.config.stages if isinstance(stage, BlockStage | RefineStage))
        if stages := list(changing) if self.own else []:
            return f"the mask was changed after the method, by {' and '.join(stages)}"
        if not self.method.whole_matrix:
            return (
                f"{self.method.title} chooses on its way through the matrix, from weights that it has updated by then"
            )
        return "the mask was not chosen by this score alone"


def open_scores(scores: Scores, run: Run, module: str, store: Store) -> ModuleScores:
    """Raises NotFound where they are not known, or the module was replaced by factors."""
    kept = store.tensors(run.id, scores.file)
    if kept is None or module not in kept.facts:
        raise NotFound(
            f"module = {module!r} has no scores in run = {run.id!r}; compute them, or choose another module."
        )
    row = store.modules(run.id).set_index("module").loc[module]
    own = scores.of_the_run(run)
    order = store.permutations(run.id).get(module) if own else None
    pattern = run.config.pattern.resolve(scores.method.group).at(row.target)
    return ModuleScores(
        run=run,
        module=module,
        shape=(int(row.rows), int(row.columns)),
        method=scores.method,
        facts=ScoreFacts.model_validate(kept.facts[module]),
        compared=comparison(scores.method, pattern, order),
        own=own,
        _kept=kept,
        _store=store,
    )


def input_norm(run: Run, block: int, module: str, store: Store) -> torch.Tensor:
    """The norm of every input [in] of a module; its block's inputs must be known."""
    kept = _inputs(run, block, store)
    return kept[f"norm of {kept.facts['sources'][module]}"]


def dense_weight(run: Run, block: int, module: str, store: Store) -> torch.Tensor:
    """The module's weight [out, in] before pruning, in the model's data type; its block's inputs must be known."""
    return _inputs(run, block, store)[f"weight of {module}"]


def _inputs(run: Run, block: int, store: Store) -> KeptTensors:
    kept = store.tensors(run.id, inputs_file(block))
    if kept is None:
        raise NotFound(f"The inputs of block {block} of run = {run.id!r} are not known; compute its scores first.")
    return kept


def other_method(run: Run) -> Method:
    """What a run is held against where nothing is said: magnitude, which knows nothing of the inputs; or Wanda."""
    return Wanda() if run.config.method == Magnitude() else Magnitude()


def agreement(a: ModuleScores, b: ModuleScores) -> Overlap:
    """How far the masks of two methods agree, beside what chance would give."""
    return mask_overlap(a.packed, b.packed)


def window_table(sides: Sequence[ModuleScores], block: int, window: Window, store: Store) -> pd.DataFrame:
    """One row a weight of the window: place, value, input norm, and score and mask under every method."""
    first = sides[0]
    weight = dense_weight(first.run, block, first.module, store)
    norm = input_norm(first.run, block, first.module, store)
    rows, columns = np.mgrid[window.row : window.row + window.rows, window.column : window.column + window.columns]
    part = weight[window.row : window.row + window.rows, window.column : window.column + window.columns]
    table = pd.DataFrame(
        {
            "output": rows.ravel(),
            "input": columns.ravel(),
            "weight": part.float().numpy().ravel(),
            "input norm": norm.numpy()[columns.ravel()],
        }
    )
    for side in sides:
        if side.scores is not None:
            table[f"score {side.method.name}"] = window.of(side.scores).ravel()
        table[f"kept {side.method.name}"] = window.of(side.keep).ravel()
    return table


def aggregated_table(sides: Sequence[ModuleScores]) -> pd.DataFrame:
    """One row a cell of the map: its outputs and inputs, and under every method mean and highest score and the share kept."""
    masks = [aggregate(side.keep) for side in sides]
    first = masks[0]
    rows, columns = np.mgrid[: first.mean.shape[0], : first.mean.shape[1]].reshape(2, -1)
    table = pd.DataFrame(
        {
            "first output": first.row_edges[rows],
            "last output": first.row_edges[rows + 1] - 1,
            "first input": first.column_edges[columns],
            "last input": first.column_edges[columns + 1] - 1,
        }
    )
    for side, mask in zip(sides, masks, strict=True):
        if side.scores is not None:
            found = aggregate(side.scores)
            table[f"mean score {side.method.name}"] = found.mean.ravel()
            table[f"highest score {side.method.name}"] = found.maximum.ravel()
        table[f"kept {side.method.name}"] = mask.mean.ravel()
    if len(sides) > 1:
        table["disagree"] = aggregate(sides[0].keep != sides[1].keep).mean.ravel()
    return table
