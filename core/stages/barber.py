"""LLM-Barber: rebuilding a mask by what each weight means to its block's output."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import ClassVar, Literal, NamedTuple

from jaxtyping import Bool, Float, Int, Shaped
from pydantic import Field

from core.errors import InputError
from core.lazy import torch
from core.methods.base import Method, Pruned
from core.patterns import NM, MixedNM, Pattern, Unstructured
from core.reference import Reference
from core.selection import masked, smallest, trues
from core.stages.base import BlockStage, Group, Refined, permuted

Granularity = Literal["block", "layer", "output1", "input1"]


class Pairing(NamedTuple):
    """In each comparison group (row): pruned weights from the highest down beside kept ones from the lowest up.

    ``grow`` and ``cut`` are the indices in the group of what ``pruned`` and ``kept`` hold; where either has run out, its
    metric is infinite on the side that makes no swap.
    """

    pruned: Float[torch.Tensor, "groups size"]
    grow: Int[torch.Tensor, "groups size"]
    kept: Float[torch.Tensor, "groups size"]
    cut: Int[torch.Tensor, "groups size"]

    @property
    def mismatched(self) -> Int[torch.Tensor, "groups 1"]:
        """How many pairs, the first ones, hold a pruned weight that is higher than its kept one."""
        return (self.pruned > self.kept).sum(dim=1, keepdim=True)

    def swaps(self, threshold: float) -> Int[torch.Tensor, "groups 1"]:
        """How many of them are exchanged."""
        return (self.mismatched.double() * threshold).long()


def paired(metric: Float[torch.Tensor, "groups size"], keep: Bool[torch.Tensor, "groups size"]) -> Pairing:
    """The pairs of pruned and kept weights, those that promise most first."""
    pruned, grow = metric.masked_fill(keep, -torch.inf).sort(dim=1, descending=True, stable=True)
    kept, cut = metric.masked_fill(~keep, torch.inf).sort(dim=1, stable=True)
    return Pairing(pruned, grow, kept, cut)


def swap(
    metric: Float[torch.Tensor, "groups size"], keep: Bool[torch.Tensor, "groups size"], threshold: float
) -> tuple[Bool[torch.Tensor, "groups size"], Bool[torch.Tensor, "groups size"]]:
    """(grown, cut) in each comparison group (row).

    The highest pruned weight is paired with the lowest kept one, and so on; pairs in which the pruned one is higher are
    mismatched, and the first ``int(threshold * mismatched)`` are exchanged.
    """
    none = torch.zeros_like(keep)
    if len(metric) == 1:  # a whole matrix or more: to sort it takes longer than the gradients do
        count = int(mismatched(metric, keep) * threshold)
        pruned, kept = (-metric).masked_fill(keep, torch.inf), metric.masked_fill(~keep, torch.inf)
        return (smallest(pruned, count), smallest(kept, count)) if count else (none, none)
    pairs = paired(metric, keep)
    first = torch.arange(metric.shape[1], device=metric.device) < pairs.swaps(threshold)
    return none.scatter(1, pairs.grow, first), none.scatter(1, pairs.cut, first)


def mismatched(metric: Float[torch.Tensor, "1 size"], keep: Bool[torch.Tensor, "1 size"]) -> int:
    """How many pairs of a group are mismatched, without pairing them.

    With c the metric that the last one would have if as many as are kept were the highest: pairs beyond the pruned ones
    above c and the kept ones below it hold nothing but metrics that are c, or in order.
    """
    survivors = trues(keep)
    if survivors in (0, keep.numel()):
        return 0
    below = smallest(metric, keep.numel() - survivors)
    cut = metric[~below].min()
    return max(trues((metric > cut) & ~keep), trues((metric < cut) & keep))


def swap_within(
    metric: Float[torch.Tensor, "groups m"],
    keep: Bool[torch.Tensor, "groups m"],
    wanted: Bool[torch.Tensor, "groups m"],
) -> Bool[torch.Tensor, "groups m"]:
    """The keep mask of N:M groups in which ``wanted`` weights grow, highest first, as long as each exceeds the kept one
    it displaces, lowest first."""
    candidates, grow_order = metric.masked_fill(~wanted, -torch.inf).sort(dim=1, descending=True, stable=True)
    kept, cut_order = metric.masked_fill(~keep, torch.inf).sort(dim=1, stable=True)
    better = candidates > kept
    none = torch.zeros_like(keep)
    return (keep | none.scatter(1, grow_order, better)) & ~none.scatter(1, cut_order, better)


def rebuild(
    metrics: Mapping[str, torch.Tensor],
    keeps: Mapping[str, torch.Tensor],
    granularity: Granularity,
    threshold: float,
    pattern: Pattern,
    permutations: Mapping[str, torch.Tensor | None],
) -> dict[str, torch.Tensor]:
    """The new keep masks [out, in] by module name; each comparison group keeps its count, N:M holds where it held."""
    grown, cut = _swaps(metrics, keeps, granularity, threshold)
    if not isinstance(pattern, NM):
        return {name: (keep | grown[name]) & ~cut[name] for name, keep in keeps.items()}
    return {
        name: _within(metrics[name], keep, grown[name], pattern.m, permutations[name]) for name, keep in keeps.items()
    }


def _swaps(
    metrics: Mapping[str, torch.Tensor], keeps: Mapping[str, torch.Tensor], granularity: Granularity, threshold: float
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    metric, keep = comparison_groups(metrics, granularity), comparison_groups(keeps, granularity)
    both = {name: swap(metric[name], keep[name], threshold) for name in keep}
    grown, cut = ({name: pair[side] for name, pair in both.items()} for side in (0, 1))
    return _parted(grown, keeps, granularity), _parted(cut, keeps, granularity)


def comparison_groups(
    tensors: Mapping[str, Shaped[torch.Tensor, "out in"]], granularity: Granularity
) -> dict[str, Shaped[torch.Tensor, "groups size"]]:
    """What is compared with each other, a group a row; by module name, or under no name where all modules make one."""
    if granularity == "block":
        return {"": torch.cat([tensor.reshape(-1) for tensor in tensors.values()])[None]}
    if granularity == "layer":
        return {name: tensor.reshape(1, -1) for name, tensor in tensors.items()}
    return {name: tensor if granularity == "output1" else tensor.T for name, tensor in tensors.items()}


def _parted(
    groups: Mapping[str, torch.Tensor], like: Mapping[str, torch.Tensor], granularity: Granularity
) -> dict[str, torch.Tensor]:
    """The way back."""
    if granularity == "block":
        parts = groups[""][0].split([tensor.numel() for tensor in like.values()])
        return {name: part.reshape(tensor.shape) for (name, tensor), part in zip(like.items(), parts, strict=True)}
    if granularity == "input1":
        return {name: group.T for name, group in groups.items()}
    return {name: groups[name].reshape(tensor.shape) for name, tensor in like.items()}


def _within(
    metric: torch.Tensor, keep: torch.Tensor, wanted: torch.Tensor, m: int, permutation: torch.Tensor | None
) -> torch.Tensor:
    in_order = [permuted(tensor, permutation).reshape(-1, m) for tensor in (metric, keep, wanted)]
    swapped = swap_within(*in_order).reshape(keep.shape)
    if permutation is None:
        return swapped
    new = torch.empty_like(keep)
    new[:, permutation] = swapped
    return new


def gradient_roots(group: Group) -> Generator[str, None, tuple[list[float], dict[str, torch.Tensor]]]:
    """Words about what it is doing; returns each sequence's loss, and the root of the mean squared gradient [out, in] by
    module name."""
    losses: list[float] = []
    squares = {name: torch.zeros_like(weight) for name, weight in group.dense.items()}
    for loss, gradients in group.gradients():
        losses.append(loss)
        for name, gradient in gradients.items():
            squares[name].addcmul_(gradient, gradient)
        yield f"gradients of {group.name}, sequence {len(losses)}"
    return losses, {name: (total / len(losses)).sqrt() for name, total in squares.items()}


class Barber(BlockStage):
    """After the initial mask: swaps the pruned and kept weights that a block-aware metric finds mismatched.

    Per group of a block (attention, then MLP) the dense weights are run on the pruned model's own input; ``D``, the root
    of the mean squared gradient of ``mean((dense(x) - pruned(x))^2)`` in the dense weights, one sequence at a time, says
    what a weight means to the output. Survivors are reset to their dense values unless ``keep_reconstruction``.

    Source: Su et al. (arXiv 2408.10631), section 3. Deviations: pairs are exchanged inside the comparison group, so the
    sparsity never drifts; under N:M a swap happens only where it raises the metric; each block is refined in the pass
    that prunes it, where the authors finish the initial pass over the whole model first.
    """

    name: ClassVar[str] = "barber"
    title: ClassVar[str] = "LLM-Barber"
    summary: ClassVar[str] = (
        "Looks at the mask again, block by block: a pruned weight that matters more to the block's output than a kept one "
        "takes its place. The gradient of the block's error says how much each weight matters. Sparsity never changes."
    )
    formula: ClassVar[str] = (
        r"D = \sqrt{\tfrac1n\sum_s (\partial L_s / \partial W)^2},\quad L_s = \operatorname{mean}"
        r"\left(f_W(x_s) - f_{\hat W}(x_s)\right)^2,\quad \text{metric } |W| \cdot D"
    )
    reference: ClassVar[Reference] = Reference(
        key="su2024llmbarber",
        title="LLM-Barber: Block-Aware Rebuilder for Sparsity Mask in One-Shot for Large Language Models",
        authors=(
            "Yupeng Su",
            "Ziyi Guan",
            "Xiaoqun Liu",
            "Tianlai Jin",
            "Dongkuan Wu",
            "Graziano Chesi",
            "Ngai Wong",
            "Hao Yu",
        ),
        year=2024,
        arxiv="2408.10631",
    )
    order: ClassVar[int] = 30

    granularity: Granularity = Field(
        "block",
        title="Granularity",
        description="Where weights are compared: all modules of a sub-block together (block), a matrix (layer), a row (output1), "
        "a column (input1). A small threshold on short rows or columns swaps nothing.",
    )
    metric: Literal["WD", "W", "D"] = Field(
        "WD",
        title="Metric",
        description="Magnitude times gradient (WD), magnitude (W) or gradient (D) of the dense weights.",
    )
    threshold: float = Field(
        0.01, ge=0, le=1, title="Threshold", description="Share of the mismatched pairs that is swapped."
    )
    keep_reconstruction: bool = Field(
        False,
        title="Keep reconstruction",
        description="Survivors keep the values an update gave them. Off, as in the paper: all are reset to dense, "
        "those of SparseGPT too.",
    )

    @property
    def resets(self) -> bool:
        return not self.keep_reconstruction

    def check(self, method: Method, pattern: Pattern) -> None:
        if not isinstance(pattern, Unstructured | NM | MixedNM):
            raise InputError(
                f"stage = {self.name} does not go with pattern = {pattern.label}, which swaps of single weights would break; "
                "choose another pattern or leave the stage out."
            )
        if not method.exact:
            raise InputError(
                f"stage = {self.name} does not go with method = {method.name}, whose counts are not exact; "
                "choose another method or leave the stage out."
            )

    def flops(self, shape: tuple[int, int], tokens: int) -> float:
        return 12.0 * shape[0] * shape[1] * tokens  # the block once more, then forward, backward (twice), forward

    def refine(
        self, group: Group, pattern: Pattern, permutations: Mapping[str, torch.Tensor | None]
    ) -> Iterator[str | Refined]:
        losses, roots = yield from gradient_roots(group)
        metrics = {name: self.metric_of(group.dense[name], root) for name, root in roots.items()}
        before = {name: pruned.keep for name, pruned in group.pruned.items()}
        keeps = rebuild(metrics, before, self.granularity, self.threshold, pattern, permutations)
        pruned = {name: self.with_mask(group.dense[name], group.pruned[name], keep) for name, keep in keeps.items()}
        after: list[float] = []
        for loss in group.loss({name: result.weight for name, result in pruned.items()}):
            after.append(loss)
            yield f"loss of {group.name}, sequence {len(after)}"
        swapped = {name: float((keep & ~before[name]).float().mean()) for name, keep in keeps.items()}
        total = sum(keep.numel() for keep in keeps.values())
        yield Refined(
            pruned,
            {name: {"swapped": share} for name, share in swapped.items()},
            {
                "loss_before": sum(losses) / len(losses),
                "loss_after": sum(after) / len(after),
                "swapped": sum(swapped[name] * keep.numel() for name, keep in keeps.items()) / total,
            },
        )

    def metric_of(
        self, dense: Float[torch.Tensor, "out in"], gradient: Float[torch.Tensor, "out in"]
    ) -> Float[torch.Tensor, "out in"]:
        """What each weight means to the output; ``gradient``: the root of its mean squared gradient."""
        return {"WD": dense.abs() * gradient, "W": dense.abs(), "D": gradient}[self.metric]

    def with_mask(
        self, dense: Float[torch.Tensor, "out in"], pruned: Pruned, keep: Bool[torch.Tensor, "out in"]
    ) -> Pruned:
        """``pruned`` once ``keep`` takes the place of its mask: survivors are dense, or keep what an update made of them."""
        if not self.keep_reconstruction:
            return Pruned.masked(dense, keep)
        grown = keep & ~pruned.keep
        return Pruned(masked(torch.where(grown, dense, pruned.weight), keep), keep, pruned.dead_inputs)
