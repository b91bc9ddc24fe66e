"""Low-rank decomposition: a matrix as the product of two thinner ones."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import ClassVar

from jaxtyping import Float
from pydantic import Field

from core.errors import InputError
from core.lazy import torch
from core.reference import Reference
from core.stages.base import Factors, FactorStage


def truncated_svd(
    weight: Float[torch.Tensor, "out in"], rank: int
) -> tuple[Float[torch.Tensor, "out rank"], Float[torch.Tensor, "rank in"], float]:
    """``U_r sqrt(S_r)``, ``sqrt(S_r) V_r`` and the share of ``sum S^2`` that the first ``rank`` singular values hold."""
    u, s, v = torch.linalg.svd(weight, full_matrices=False)
    root = s[:rank].sqrt()
    energy = float(s[:rank].double().square().sum() / s.double().square().sum().clamp(min=1e-300))
    return (u[:, :rank] * root).contiguous(), (root[:, None] * v[:rank]).contiguous(), energy


class LowRank(FactorStage):
    """``W ≈ (U_r sqrt(S_r)) (sqrt(S_r) V_r)`` with ``r = int(min(out, in) * rank_ratio)``, by truncated SVD.

    Saves parameters only where ``r < out * in / (out + in)``. Source: the ClearCut program (seed 000). Deviations: a rank
    that saves nothing is refused unless forced; a failure raises and names the module.
    """

    name: ClassVar[str] = "low_rank"
    title: ClassVar[str] = "Low rank"
    summary: ClassVar[str] = (
        "Replaces chosen matrices by a product of two thinner ones, from their largest singular values. It saves weights only "
        "where the rank is below out · in / (out + in): half the width of a square matrix saves nothing. The zeros of a "
        "pruned matrix are gone afterwards."
    )
    formula: ClassVar[str] = r"W \approx \left(U_r \sqrt{S_r}\right)\left(\sqrt{S_r}\, V_r\right)"
    reference: ClassVar[Reference] = Reference(
        key="eckart1936approximation",
        title="The approximation of one matrix by another of lower rank",
        authors=("Carl Eckart", "Gale Young"),
        year=1936,
        venue="Psychometrika 1(3)",
        url="https://doi.org/10.1007/BF02288367",
    )
    order: ClassVar[int] = 40

    modules: str = Field(
        "*att*",
        title="Modules",
        description="Patterns of full module names, separated by commas: *att* takes the attention; *.mlp.* the rest.",
    )
    rank_ratio: float = Field(
        0.25, gt=0, le=1, title="Rank ratio", description="Rank as a share of the matrix's smaller side."
    )
    force: bool = Field(False, title="Force", description="Decompose even where it saves no parameter.")

    def flops(self, shape: tuple[int, int], tokens: int) -> float:
        return 20.0 * max(shape) * min(shape) ** 2

    def chooses(self, module: str, label: str) -> bool:
        return any(fnmatchcase(module, glob.strip()) for glob in self.modules.split(","))

    def rank(self, module: str, shape: tuple[int, int]) -> int:
        """The rank for a matrix of ``shape``. Raises InputError where it is 0, or saves nothing and is not forced."""
        rank = int(min(shape) * self.rank_ratio)
        if rank == 0:
            raise InputError(
                f"rank_ratio = {self.rank_ratio:g} leaves {module} ({shape[0]} × {shape[1]}) no rank at all; raise it."
            )
        if rank * sum(shape) >= shape[0] * shape[1] and not self.force:
            raise InputError(
                f"rank_ratio = {self.rank_ratio:g} saves nothing on {module} ({shape[0]} × {shape[1]}): rank {rank} takes "
                f"{rank * sum(shape):,} weights in the place of {shape[0] * shape[1]:,}; choose a ratio below "
                f"{max(shape) / sum(shape):.3g}, or force it."
            )
        return rank

    def check_module(self, module: str, shape: tuple[int, int]) -> None:
        self.rank(module, shape)

    def factor(self, module: str, weight: Float[torch.Tensor, "out in"]) -> Factors:
        rank = self.rank(module, (weight.shape[0], weight.shape[1]))
        try:
            left, right, energy = truncated_svd(weight, rank)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise InputError(f"{module}: its singular value decomposition does not converge; leave it out.") from error
        norm = weight.norm()
        return Factors(
            left,
            right,
            {
                "rank": float(rank),
                "energy": energy,
                "weight_error": float((weight - left @ right).norm() / norm) if norm > 0 else 0.0,
                "factored_parameters": float(rank * (weight.shape[0] + weight.shape[1])),
            },
        )
