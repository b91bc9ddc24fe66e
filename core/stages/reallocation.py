"""Channel reallocation: an order of the inputs in which an N:M pattern costs least, refined by assignment (LSA)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

from jaxtyping import Float, Int
from pydantic import Field

from core.errors import InputError
from core.lazy import torch
from core.methods.base import Method
from core.methods.ria import PLUG_AND_PLAY
from core.patterns import NM, MixedNM, Pattern
from core.reference import Reference
from core.registry import ADVANCED
from core.selection import smallest
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


def retained(scores: Float[torch.Tensor, "out in"], permutation: Int[torch.Tensor, " in"], n: int, m: int) -> float:
    """The sum of the scores that N:M keeps in this order of the channels."""
    return float(scores[:, permutation].reshape(-1, m).topk(n, dim=1).values.sum(dtype=torch.float64))


def gains(
    slot: Float[torch.Tensor, "out g"], others: Float[torch.Tensor, "out h m1"], n: int
) -> Float[torch.Tensor, "h g"]:
    """What each group (row) would retain more with each channel of ``slot`` (column) beside its ``m - 1`` others.

    A channel adds, in each row, what it has above the group's N-th best: ``sum_i max(0, x_i - t_i)``.
    """
    threshold = others.topk(n, dim=2).values[..., -1]
    step = max(1, _CHUNK // (slot.shape[0] * slot.shape[1]))
    return torch.cat(
        [(slot[:, None, :] - part[:, :, None]).clamp_(min=0).sum(dim=0) for part in threshold.split(step, dim=1)]
    )


def assign(
    scores: Float[torch.Tensor, "out in"], permutation: Int[torch.Tensor, " in"], slot: int, n: int, m: int, parts: int
) -> Int[torch.Tensor, " in"]:
    """The best exchange of the channels in ``slot`` among the groups, others fixed; ``parts`` problems of equal size."""
    from scipy.optimize import linear_sum_assignment

    better = permutation.clone()
    channels = permutation.reshape(-1, m)
    for groups in torch.arange(len(channels), device=scores.device).tensor_split(min(parts, len(channels))):
        here = channels[groups]
        others = torch.cat([here[:, :slot], here[:, slot + 1 :]], dim=1)
        gain = gains(scores[:, here[:, slot]], scores[:, others.reshape(-1)].reshape(len(scores), -1, m - 1), n)
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
        n, m = pattern.n, pattern.m
        plain = torch.arange(scores.shape[1], device=scores.device)
        permutation, best = plain, retained(scores, plain, n, m)
        report: Report = {"retained_plain": best}

        def take(other: torch.Tensor, name: str) -> None:
            """The other order where it retains more: the snake is a heuristic, and gains are rounded to float32."""
            nonlocal permutation, best
            if (score := retained(scores, other, n, m)) > best:
                permutation, best = other, score
            report[name] = best

        take(deal(rank_channels(scores, self.importance, sparsity), m), "retained_reallocated")
        for slot in range(m if self.lsa else 0):
            yield f"assigning the channels of slot {slot + 1} of {m}"
            take(assign(scores, permutation, slot, n, m, int(self.lsa_parts)), f"retained_lsa_{slot + 1}")
        chosen = pattern.keep(scores[:, permutation], sparsity)
        keep = torch.empty_like(chosen)
        keep[:, permutation] = chosen
        yield Choice(keep, permutation, report)
