"""Channel reallocation: an order of the inputs in which an N:M pattern costs least, refined by assignment (LSA)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from jaxtyping import Bool, Float, Int
from pydantic import Field

from core.compiled import runs_compiled
from core.errors import InputError
from core.lazy import torch
from core.methods.base import Method
from core.methods.ria import PLUG_AND_PLAY
from core.patterns import NM, MixedNM, Pattern
from core.reference import Reference
from core.registry import ADVANCED
from core.selection import refuse_nan, smallest
from core.stages.base import Choice, MaskStage, Report

Importance = Literal["sum", "retained_degree", "retained_degree_output"]
_CHUNK = 2**25  # float32 values held at once while scoring assignments (128 MB)


def rank_channels(
    scores: Float[torch.Tensor, "out in"], importance: Importance, sparsity: float
) -> Int[torch.Tensor, " in"]:
    """The input channels from least to most important.

    ``sum``: of a channel's scores. ``retained_degree``: the sum of the scores that an unstructured mask would keep, over
    the whole matrix or (``_output``) per row; ties by how many they are.
    """
    if importance == "sum":
        return scores.sum(dim=0).sort(stable=True).indices
    groups = scores.reshape(1, -1) if importance == "retained_degree" else scores
    keep = ~smallest(groups, int(groups.shape[1] * sparsity)).reshape(scores.shape)
    by_degree = keep.sum(dim=0).sort(stable=True).indices
    retained = (scores * keep).sum(dim=0)
    return by_degree[retained[by_degree].sort(stable=True).indices]


def deal(order: Int[torch.Tensor, " in"], m: int) -> Int[torch.Tensor, " in"]:
    """Deals ranked channels out to groups of ``m`` in a snake: new position -> column.

    The ranking is cut into ``m`` chunks; chunk k fills slot k of every group, from the first group to the last and back in
    turn, so that every group gets weak and strong channels alike.
    """
    permutation = torch.empty_like(order)
    for slot, chunk in enumerate(order.chunk(m)):
        permutation[slot::m] = chunk.flip(0) if slot % 2 else chunk
    return permutation


def kept_in_order(
    channels: Float[torch.Tensor, "in out"], permutation: Int[torch.Tensor, " in"], n: int, m: int
) -> tuple[Bool[torch.Tensor, "in out"], float]:
    """What N:M keeps of the scores [in, out] in this order of the channels, in their own order, and the sum of it."""
    keep = torch.empty_like(channels, dtype=torch.bool)
    if runs_compiled(channels):
        from core.stages.channel_groups import keep_highest  # compiled when it is needed

        return keep, keep_highest(channels.numpy(), permutation.numpy(), n, m, keep.numpy())
    ordered = channels[permutation].T
    kept = ~smallest(ordered.reshape(-1, m), m - n).reshape(ordered.shape)
    keep[permutation] = kept.T
    return keep, float((ordered * kept).sum(dtype=torch.float64))


def gains(
    channels: Float[torch.Tensor, "in out"],
    slot: Int[torch.Tensor, " g"],
    others: Int[torch.Tensor, "g m1"],
    n: int,
) -> Float[torch.Tensor, "g g"]:
    """What each group (row) would retain more with each channel of ``slot`` (column) beside its ``m - 1`` others.

    A channel adds, for each output, what it has above the group's N-th best: ``sum_i max(0, x_i - t_i)``.
    """
    if runs_compiled(channels):
        from core.stages.channel_groups import gains_over, nth_best

        threshold = nth_best(channels.numpy(), others.numpy(), n)
        return torch.from_numpy(gains_over(channels[slot].numpy(), threshold))
    best = channels[others].topk(n, dim=1).values[:, -1]
    step = max(1, _CHUNK // channels[slot].numel())
    parts = best.split(step)
    return torch.cat([(channels[slot][None] - part[:, None]).clamp_(min=0).sum(dim=2) for part in parts])


def assign(
    channels: Float[torch.Tensor, "in out"],
    permutation: Int[torch.Tensor, " in"],
    slot: int,
    n: int,
    m: int,
    parts: int,
) -> Int[torch.Tensor, " in"]:
    """The best exchange of the channels in ``slot`` among the groups, others fixed; ``parts`` problems of equal size."""
    from scipy.optimize import linear_sum_assignment

    better = permutation.clone()
    members = permutation.reshape(-1, m)
    for groups in torch.arange(len(members), device=members.device).tensor_split(min(parts, len(members))):
        here = members[groups]
        others = torch.cat([here[:, :slot], here[:, slot + 1 :]], dim=1)
        gain = gains(channels, here[:, slot], others, n)
        _, chosen = linear_sum_assignment(gain.double().cpu().numpy(), maximize=True)
        better[groups * m + slot] = here[torch.from_numpy(chosen).to(here.device), slot]
    return better


class Reallocation(MaskStage):
    """Permutes the input channels before N:M is chosen, so that strong channels do not compete in one group.

    Channels are ranked by importance and dealt out in a snake; with ``lsa`` the channels of each of the M slots in turn
    are then reassigned to groups so that the total retained score is largest (linear sum assignment). The mask is mapped
    back to the weights' own order; the pattern holds in the permuted one, which is kept with the mask.

    Source: Zhang et al. (ICLR 2024), section 3.3. Deviations: ties go to the lowest channel; the order is kept.
    """

    name: ClassVar[str] = "reallocation"
    title: ClassVar[str] = "Channel reallocation"
    summary: ClassVar[str] = (
        "Changes the order of a matrix's inputs before N:M is chosen, so that important channels do not compete in one group. "
        "With LSA the order is refined by solving assignment problems, one for each place in a group."
    )
    formula: ClassVar[str] = r"\max_{P} \sum_{g} \operatorname{top}_N\!\left( (S P)_{i,g} \right)"
    reference: ClassVar[Reference] = PLUG_AND_PLAY
    order: ClassVar[int] = 10

    importance: Importance = Field(
        "sum",
        title="Channel importance",
        description="Ranks the channels: the sum of all their scores, or of those an unstructured mask would keep "
        "(over the whole matrix, or per output).",
    )
    lsa: bool = Field(
        False, title="LSA refinement", description="Refine the order by linear sum assignment; slower on wide modules."
    )
    lsa_parts: Literal["1", "4", "8", "16"] = Field(
        "1",
        title="LSA sub-problems",
        description="Solve so many smaller assignments in the place of one: faster on wide modules, a little worse.",
        json_schema_extra=ADVANCED,
    )

    def check(self, method: Method, pattern: Pattern) -> None:
        if not isinstance(pattern, NM | MixedNM):
            raise InputError(
                f"stage = {self.name} does not go with pattern = {pattern.label}: the order of the inputs matters only to N:M; "
                "choose an N:M pattern or leave the stage out."
            )
        if not method.whole_matrix:
            raise InputError(
                f"stage = {self.name} does not go with method = {method.name}, which chooses its mask while it updates the "
                "weights; choose mask selection 'matrix', or another method."
            )

    def flops(self, shape: tuple[int, int], tokens: int) -> float:
        return 3.0 * shape[0] * shape[1] ** 2 / (4 * int(self.lsa_parts)) if self.lsa else 0.0

    def choose(
        self, scores: Float[torch.Tensor, "out in"], pattern: Pattern, sparsity: float
    ) -> Iterator[str | Choice]:
        assert isinstance(pattern, NM)
        refuse_nan(scores)
        n, m, channels = pattern.n, pattern.m, scores.T.contiguous()
        permutation = torch.arange(len(channels), device=scores.device)
        keep, best = kept_in_order(channels, permutation, n, m)
        report: Report = {"retained_plain": best}

        def take(other: torch.Tensor, name: str) -> None:
            """The other order where it retains more: the snake is a heuristic, and gains are rounded to float32."""
            nonlocal permutation, keep, best
            kept, score = kept_in_order(channels, other, n, m)
            if score > best:
                permutation, keep, best = other, kept, score
            report[name] = best

        take(deal(rank_channels(scores, self.importance, sparsity), m), "retained_reallocated")
        for slot in range(m if self.lsa else 0):
            yield f"assigning the channels of slot {slot + 1} of {m}"
            take(assign(channels, permutation, slot, n, m, int(self.lsa_parts)), f"retained_lsa_{slot + 1}")
        yield Choice(keep.T.contiguous(), permutation, report)
