"""DSnoT: prune and grow a given mask, without training, until the expected output error of each row vanishes."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import ClassVar, NamedTuple

from jaxtyping import Bool, Float
from pydantic import Field

from core.errors import InputError
from core.lazy import torch
from core.methods.base import Method, Pruned
from core.methods.wanda import wanda_score
from core.patterns import NM, MixedNM, Pattern, Unstructured
from core.reference import Reference
from core.registry import ADVANCED
from core.stages.base import RefineStage, permuted
from core.statistics import InputStatistics


class Expected(NamedTuple):
    """What DSnoT knows of each weight of a matrix.

    ``output``: ``w_ij * s_j``, what the weight adds to its row's output on average (summed over the tokens of a sequence).
    ``grow``: that divided by the variance of its input to some power. ``prune``: its Wanda score.
    """

    output: Float[torch.Tensor, "out in"]
    grow: Float[torch.Tensor, "out in"]
    prune: Float[torch.Tensor, "out in"]

    @classmethod
    def of(cls, dense: Float[torch.Tensor, "out in"], stats: InputStatistics, power: float) -> Expected:
        output = dense * stats["total"]
        # An input that never varies is made up for entirely by its weight: infinite, unless there is nothing to make up for.
        grow = (output / stats["variance"] ** power).nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf)
        return cls(output, grow, wanda_score(dense, stats["norm"]))

    def in_order(self, permutation: torch.Tensor | None) -> Expected:
        return Expected(*(permuted(values, permutation) for values in self))


class Refinement(NamedTuple):
    """The new mask, and the expected error of each row before and after."""

    keep: Bool[torch.Tensor, "out in"]
    before: Float[torch.Tensor, " out"]
    after: Float[torch.Tensor, " out"]


Partner = Callable[["torch.Tensor", "torch.Tensor"], tuple["torch.Tensor", "torch.Tensor"]]
"""(which pruned weight [out, 1] each row grows, whether its error [out, 1] is positive) -> (which kept weight [out, 1] it
prunes, whether there is one [out, 1])."""


def refine_rows(
    expected: Expected, keep: Bool[torch.Tensor, "out in"], cycles: int, threshold: float, overshoot: bool
) -> Refinement:
    """Every row by itself: as long as its error exceeds ``threshold``, the pruned weight whose return lowers it with the
    most certainty (``grow``) comes back, and the kept weight of the opposite effect with the lowest ``prune`` goes."""
    # An error that is positive falls when a negative weight goes.
    negative, positive = (
        _Queue(expected.prune, keep & side, cycles) for side in (expected.output < 0, expected.output > 0)
    )

    def partner(grown: torch.Tensor, above: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return _next(above, negative, positive)

    return _refine(expected, keep, cycles, threshold, overshoot, partner)


def refine_groups(
    expected: Expected, keep: Bool[torch.Tensor, "out in"], cycles: int, threshold: float, m: int
) -> Refinement:
    """The same under N:M: a weight comes back in the place of the kept one in its own group of ``m`` with the lowest
    ``prune``, as long as the row's error keeps its sign. A weight changes once."""
    prune = expected.prune.masked_fill(~keep, torch.inf).reshape(len(keep), -1, m)

    def partner(grown: torch.Tensor, positive: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        group = (grown // m)[:, :, None].expand(-1, -1, m)
        lowest, place = prune.gather(1, group).min(dim=2)
        cut = grown // m * m + place
        prune.view(len(keep), -1).scatter_(1, cut, torch.inf)
        return cut, lowest < torch.inf

    return _refine(expected, keep, cycles, threshold, False, partner)


def _refine(
    expected: Expected,
    keep: Bool[torch.Tensor, "out in"],
    cycles: int,
    threshold: float,
    overshoot: bool,
    partner: Partner,
) -> Refinement:
    refined = keep.clone()
    error = (expected.output * ~keep).sum(dim=1, keepdim=True)
    first = error.clone()
    highest = _Queue(-expected.grow, ~keep & (expected.grow > 0), cycles)
    lowest = _Queue(expected.grow, ~keep & (expected.grow < 0), cycles)
    active = torch.ones_like(error, dtype=torch.bool)
    for _ in range(cycles):
        active &= error.abs() > threshold
        if not active.any():
            break
        positive = error > 0
        grown, one_to_grow = _next(positive, highest, lowest)
        cut, one_to_cut = partner(grown, positive)
        after = error + expected.output.gather(1, cut) - expected.output.gather(1, grown)
        active &= one_to_grow & one_to_cut
        if not overshoot:
            active &= after.sign() == first.sign()
        refined.scatter_(1, grown, refined.gather(1, grown) | active)
        refined.scatter_(1, cut, refined.gather(1, cut) & ~active)
        error = torch.where(active, after, error)
    return Refinement(refined, first[:, 0], error[:, 0])


class _Queue:
    """In each row the allowed ones from the lowest score up, at most ``count`` of them; of equal scores the lowest index first."""

    def __init__(
        self, scores: Float[torch.Tensor, "out in"], allowed: Bool[torch.Tensor, "out in"], count: int
    ) -> None:
        few = scores.masked_fill(~allowed, torch.inf).topk(min(count, scores.shape[1]), dim=1, largest=False)
        by_index = few.indices.sort(dim=1)
        order = few.values.gather(1, by_index.indices).sort(dim=1, stable=True).indices
        self._indices = by_index.values.gather(1, order)
        self._length = allowed.sum(dim=1, keepdim=True).clamp(max=self._indices.shape[1])
        self._taken = torch.zeros_like(self._length)

    def take(self, rows: Bool[torch.Tensor, "out 1"]) -> tuple[torch.Tensor, torch.Tensor]:
        """The next index [out, 1] of each row, and whether there is one; those of ``rows`` are gone then."""
        found = self._indices.gather(1, self._taken.clamp(max=self._indices.shape[1] - 1))
        there_is = self._taken < self._length
        self._taken += rows
        return found, there_is


def _next(rows: Bool[torch.Tensor, "out 1"], first: _Queue, second: _Queue) -> tuple[torch.Tensor, torch.Tensor]:
    """What ``rows`` take from the first queue, and the others from the second."""
    (a, is_a), (b, is_b) = first.take(rows), second.take(~rows)
    return torch.where(rows, a, b), torch.where(rows, is_a, is_b)


class DSnoT(RefineStage):
    """``eps_i = sum_{j pruned} w_ij s_j`` is what row i's output loses on average; weights are exchanged to bring it to 0.

    In each cycle the pruned weight with the largest ``w_ij s_j / Var(x_j)^p`` of the error's sign grows, and the kept
    weight of the opposite sign with the lowest ``|w_ij| a_j`` is pruned, in every row whose ``|eps_i|`` exceeds the
    threshold; each weight changes at most once. Under N:M the weight that goes is the lowest one of the same group of M,
    and a row ends where its error would change its sign. ``s_j`` is the sum over a sequence's tokens. Survivors are dense.

    Source: Zhang et al. (arXiv 2310.08915), section 3, and the authors' program, whose defaults these are. Deviations: a
    row ends where no weight of the right sign is left, so counts and N:M always hold (the program then takes any other);
    ``|w| a`` decides what goes under N:M too (the program: the first method's score); variances are those over all tokens.
    As the program, it leaves the MLP alone unless ``modules`` says otherwise.
    """

    name: ClassVar[str] = "dsnot"
    title: ClassVar[str] = "DSnoT"
    summary: ClassVar[str] = (
        "Looks at the mask again, row by row: as long as what the pruned weights would add to the output on average does not "
        "cancel out, a pruned weight comes back and a kept one of the opposite effect goes. Counts and pattern stay, no weight "
        "is changed, nothing is trained."
    )
    formula: ClassVar[str] = (
        r"\varepsilon_i = \sum_{j \notin M_i} W_{ij}\,\mathbb E[x_j],\quad "
        r"\text{grow } \arg\max_j \operatorname{sign}(\varepsilon_i)\frac{W_{ij}\,\mathbb E[x_j]}{\operatorname{Var}(x_j)^p},"
        r"\quad \text{prune } \arg\min_{j:\,\operatorname{sign}(\varepsilon_i) W_{ij}\mathbb E[x_j] < 0} |W_{ij}|\,\|X_j\|_2"
    )
    reference: ClassVar[Reference] = Reference(
        key="zhang2024dsnot",
        title="Dynamic Sparse No Training: Training-Free Fine-tuning for Sparse LLMs",
        authors=(
            "Yuxin Zhang",
            "Lirui Zhao",
            "Mingbao Lin",
            "Yunyun Sun",
            "Yiwu Yao",
            "Xingjia Han",
            "Jared Tanner",
            "Shiwei Liu",
            "Rongrong Ji",
        ),
        year=2024,
        arxiv="2310.08915",
        venue="International Conference on Learning Representations",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"norm", "total", "variance"})
    order: ClassVar[int] = 15

    cycles: int = Field(50, ge=1, le=10000, title="Cycles", description="At most so many exchanges in each row.")
    threshold: float = Field(
        0.1,
        ge=0,
        title="Threshold",
        description="A row whose expected error, summed over the tokens of a sequence, is no larger is left as it is.",
    )
    power: float = Field(
        1.0,
        ge=0,
        le=4,
        title="Power of the variance",
        description="How much an input that varies counts against growing its weight: 0 not at all.",
        json_schema_extra=ADVANCED,
    )
    overshoot: bool = Field(
        True,
        title="May overshoot",
        description="Go on where an exchange changes the sign of a row's error; N:M never does.",
        json_schema_extra=ADVANCED,
    )

    modules: str = Field(
        "*att*",
        title="Modules",
        description="Patterns of full module names, separated by commas: *att* takes the attention, as the authors' program "
        "does; * all modules.",
    )

    def chooses(self, module: str) -> bool:
        return any(fnmatchcase(module, glob.strip()) for glob in self.modules.split(","))

    def check(self, method: Method, pattern: Pattern) -> None:
        resolved = pattern.resolve(method.group)
        if not isinstance(resolved, Unstructured | NM | MixedNM):
            raise InputError(
                f"stage = {self.name} does not go with pattern = {pattern.label}, which exchanges of single weights would "
                "break; choose another pattern or leave the stage out."
            )
        if isinstance(resolved, Unstructured) and resolved.group == "input":
            raise InputError(
                f"stage = {self.name} does not go with pattern = {pattern.label} compared within each input: it exchanges weights "
                "within each output; choose another comparison group or leave the stage out."
            )
        if getattr(method, "bits", None):
            raise InputError(
                f"stage = {self.name} does not go with method = {method.name} and bits: its survivors are the dense weights; "
                "leave one of them out."
            )

    def refine_mask(
        self,
        dense: Float[torch.Tensor, "out in"],
        pruned: Pruned,
        stats: InputStatistics,
        pattern: Pattern,
        permutation: torch.Tensor | None,
    ) -> Pruned:
        expected = Expected.of(dense, stats, self.power).in_order(permutation)
        keep = permuted(pruned.keep, permutation)
        if isinstance(pattern, NM):
            refined = refine_groups(expected, keep, self.cycles, self.threshold, pattern.m)
        else:
            refined = refine_rows(expected, keep, self.cycles, self.threshold, self.overshoot)
        new = refined.keep
        if permutation is not None:
            new = torch.empty_like(keep).index_copy_(1, permutation.to(keep.device), refined.keep)
        report = {
            "exchanged": float((new & ~pruned.keep).float().mean()),
            "expected_before": float(refined.before.abs().mean()),
            "expected_after": float(refined.after.abs().mean()),
        }
        return Pruned(dense * new, new, report={**pruned.report, **report})
