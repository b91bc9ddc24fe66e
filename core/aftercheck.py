"""What must hold of every pruned matrix; a method, pattern or stage that breaks it is told by name."""

from __future__ import annotations

from collections.abc import Iterable

from jaxtyping import Bool, Float

from core.errors import InputError
from core.lazy import torch
from core.methods.base import Method
from core.patterns import NM, Pattern
from core.selection import is_finite, masked, trues
from core.stages.base import Factors, permuted


class BrokenPromise(InputError):
    """A method, pattern or stage returned what it must not."""


def check_mask(
    module: str,
    keep: Bool[torch.Tensor, "out in"],
    method: Method,
    pattern: Pattern,
    sparsity: float,
    permutation: torch.Tensor | None,
) -> None:
    """Raises BrokenPromise where the counts are not exact in every comparison group, or N:M does not hold."""
    if not method.exact and not isinstance(pattern, NM):
        return
    in_order = permuted(keep, permutation)
    for part in in_order.split(method.together(pattern) or keep.shape[1], dim=1):
        if broken := pattern.violation(part, sparsity):
            raise BrokenPromise(f"{module}: method = {method.name} with pattern = {pattern.label} failed: {broken}.")


def check_weight(
    module: str, weight: Float[torch.Tensor, "out in"], keep: Bool[torch.Tensor, "out in"] | None, by: str
) -> None:
    """Raises BrokenPromise where a weight is NaN or infinite, or, of a mask given, a pruned one is not zero."""
    if not is_finite(weight):
        raise BrokenPromise(f"{module}: {by} returned weights that are not finite (NaN or infinite).")
    if keep is not None and not torch.equal(masked(weight, keep), weight):
        left = int(weight.masked_fill(keep, 0).count_nonzero())
        raise BrokenPromise(f"{module}: {by} left {left} weights that its mask prunes.")


def check_counts(group: str, before: Iterable[torch.Tensor], after: Iterable[torch.Tensor], by: str) -> None:
    """Raises BrokenPromise where a stage changed how many weights the masks of a group keep together."""
    kept, keeps = sum(map(trues, before)), sum(map(trues, after))
    if kept != keeps:
        raise BrokenPromise(f"{group}: {by} changed the sparsity: {keeps:,} weights are kept, not {kept:,}.")


def check_same(module: str, before: Bool[torch.Tensor, "out in"], after: Bool[torch.Tensor, "out in"], by: str) -> None:
    """Raises BrokenPromise where a stage changed a mask that is not its to change."""
    if changed := int((before != after).sum()):
        raise BrokenPromise(f"{module}: {by} changed the mask of {changed} weights.")


def check_factors(module: str, factors: Factors, by: str) -> None:
    """Raises BrokenPromise where a factor is NaN or infinite."""
    if not (factors.left.isfinite().all() and factors.right.isfinite().all()):
        raise BrokenPromise(f"{module}: {by} returned factors that are not finite (NaN or infinite).")


def check_refined(
    module: str, keep: Bool[torch.Tensor, "out in"], pattern: Pattern, permutation: torch.Tensor | None, by: str
) -> None:
    """Raises BrokenPromise where a refined mask breaks N:M (its counts are the stage's to keep, group by group)."""
    if isinstance(pattern, NM) and (broken := pattern.violation(permuted(keep, permutation), pattern.sparsity)):
        raise BrokenPromise(f"{module}: {by} broke pattern = {pattern.label}: {broken}.")
