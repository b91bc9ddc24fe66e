"""OWL: blocks with more outliers keep more."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from core.allocation.balance import complete, shift, sizes_of
from core.allocation.base import Allocation, Measured, Measuring, Probe
from core.lazy import torch
from core.methods.wanda import wanda_score
from core.profile import ModelProfile
from core.reference import Reference


class OWL(Allocation):
    """``share_b``: of a block's Wanda scores, those above ``threshold`` times their mean; densities rise with it.

    The shares are mapped linearly to a band of width ``2 * band`` of densities, which is shifted so that the
    parameter-weighted mean sparsity is the target. Source: Yin et al. (arXiv 2310.05175), section 3. Deviations: the mean
    weighs blocks by their parameters (the same where blocks are alike); what leaves [0, 1) is clamped on both sides and
    redistributed; equal shares give the uniform allocation (the program divides by zero).
    """

    name: ClassVar[str] = "owl"
    title: ClassVar[str] = "OWL"
    summary: ClassVar[str] = (
        "Blocks in which more weights stand out (a Wanda score far above the block's mean) lose less. Measured on the dense "
        "model with the calibration text."
    )
    formula: ClassVar[str] = (
        r"D_b = \frac{\#\{A_{ij} > M\,\bar A\}}{\#A},\quad A = |W|\,\lVert X\rVert_2,\quad"
        r" 1 - s_b = 2\lambda\,\frac{D_b - D_{\min}}{D_{\max} - D_{\min}} + c"
    )
    reference: ClassVar[Reference] = Reference(
        key="yin2024owl",
        title="Outlier Weighed Layerwise Sparsity (OWL): A Missing Secret Sauce for Pruning LLMs to High Sparsity",
        authors=(
            "Lu Yin",
            "You Wu",
            "Zhenyu Zhang",
            "Cheng-Yu Hsieh",
            "Yaqing Wang",
            "Yiling Jia",
            "Gen Li",
            "Ajay Jaiswal",
            "Mykola Pechenizkiy",
            "Yi Liang",
            "Michael Bendersky",
            "Zhangyang Wang",
            "Shiwei Liu",
        ),
        year=2024,
        arxiv="2310.05175",
        venue="International Conference on Machine Learning",
    )
    needs: ClassVar[frozenset[str]] = frozenset({"norm"})
    reads_text: ClassVar[bool] = True

    threshold: float = Field(
        5.0,
        gt=1,
        title="Outlier threshold M",
        description="A score counts as an outlier above M times the block's mean.",
    )
    band: float = Field(
        0.08,
        ge=0,
        lt=0.5,
        title="Band λ",
        description="Densities spread over a band of twice this width: 0 is uniform.",
    )

    @property
    def measured_by(self) -> tuple[str, ...]:
        return ("threshold",)

    @property
    def measures(self) -> str:
        return "outlier_share"

    def flops(self, profile: ModelProfile, tokens: int) -> float:
        return 2.0 * profile.prunable * tokens

    def measure(self, probe: Probe) -> Measuring:
        scores = [wanda_score(weight, probe.statistics[name]["norm"]) for name, weight in probe.weights.items()]
        yield "counting outliers"
        mean = torch.stack([part.sum() for part in scores]).sum() / sum(part.numel() for part in scores)
        outliers = sum(int((part > self.threshold * mean).sum()) for part in scores)
        return dict.fromkeys(probe.weights, outliers / sum(part.numel() for part in scores))

    def sparsities(self, profile: ModelProfile, target: float, measured: Measured | None = None) -> dict[str, float]:
        shares = complete(profile, measured, "share of outliers")
        low, high = min(shares.values()), max(shares.values())
        width = 2 * self.band / (high - low) if high > low else 0.0
        return shift({name: -(share - low) * width for name, share in shares.items()}, sizes_of(profile), target)
