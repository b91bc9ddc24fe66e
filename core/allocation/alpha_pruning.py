"""AlphaPruning: the less heavy-tailed a layer's spectrum, the more of it goes."""

from __future__ import annotations

from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field

from core.allocation.balance import balance, block_means, complete, sizes_of, spread
from core.allocation.base import Allocation, InSpectra, Measured, Measuring, Probe
from core.errors import InputError
from core.lazy import torch
from core.parallel import each_on_one_thread
from core.profile import ModelProfile
from core.reference import Reference
from core.registry import ADVANCED, titled
from core.spectra.esd import eigenvalues, nonzero, spectra_flops
from core.spectra.hill import Bound, Choice, fit_name, fit_tail
from core.spectra.marchenko_pastur import fit_bulk
from core.spectra.metrics import METRICS, OF_THE_TAIL, MetricName, metrics
from core.spectra.randomised import random_distance, randomised_eigenvalues


class AlphaPruning(Allocation):
    """A metric of each module's spectrum, averaged over its block, mapped linearly to ``[1 - epsilon, 1 + epsilon]``.

    The highest of what bears pruning (for alpha: the lightest tail) gets ``1 + epsilon`` times the target; all are scaled
    so that the parameter-weighted mean is the target. Source: Lu et al. (arXiv 2410.10912), section 3. Deviations: values
    beyond what a sparsity can be are clamped and the excess redistributed; a metric that is the same everywhere gives the
    uniform allocation (the program divides by zero).
    """

    name: ClassVar[str] = "alpha_pruning"
    title: ClassVar[str] = "AlphaPruning"
    summary: ClassVar[str] = (
        "Layers whose spectrum has a heavy tail (a low alpha) are taken to be well trained and lose less; layers with a light "
        "tail lose more. The metric is measured on the dense weights, which takes some seconds."
    )
    formula: ClassVar[str] = (
        r"s_b \propto 1 - \varepsilon + 2\varepsilon\,\frac{\alpha_b - \alpha_{\min}}{\alpha_{\max} - \alpha_{\min}},"
        r"\quad \alpha = 1 + \frac{n}{\sum_i \ln \lambda_i - n \ln \lambda_{\min}}"
    )
    reference: ClassVar[Reference] = Reference(
        key="lu2024alphapruning",
        title="AlphaPruning: Using Heavy-Tailed Self Regularization Theory for Improved Layer-wise Pruning of Large "
        "Language Models",
        authors=("Haiquan Lu", "Yefan Zhou", "Shiwei Liu", "Zhangyang Wang", "Michael W. Mahoney", "Yaoqing Yang"),
        year=2024,
        arxiv="2410.10912",
        venue="Advances in Neural Information Processing Systems",
    )
    version: ClassVar[int] = 3  # the soft rank is of WeightWatcher's fit
    epsilon: float = Field(
        0.3, ge=0, lt=1, title="Spread ε", description="How far the sparsities spread around the target: 0 is uniform."
    )
    metric: MetricName = Field(
        "alpha",
        title="Metric",
        description="What is measured of a spectrum; alpha is the paper's.",
        json_schema_extra=titled({name: metric.described for name, metric in METRICS.items()}),
    )
    per: Literal["block", "module"] = Field(
        "block",
        title="Average over",
        description="block: a block's modules share the mean of their metrics; module: each its own.",
    )
    fit: Choice = Field(
        "peak",
        title="Tail fit",
        description="Where the tail begins: near the peak of the histogram (the paper's), at the median, or wherever the KS "
        "distance is smallest.",
        json_schema_extra=ADVANCED,
    )
    bound: Bound = Field(
        "reference",
        title="Lower bound",
        description="Of the peak fit: as the authors' program has it (reference), or as it was meant (corrected).",
        json_schema_extra=ADVANCED,
    )

    @property
    def measures(self) -> str:
        return self.metric

    @property
    def measured_by(self) -> tuple[str, ...]:
        if self.metric not in OF_THE_TAIL:
            return ("metric",)
        return ("metric", "fit", "bound") if self.fit == "peak" else ("metric", "fit")

    @property
    def in_spectra(self) -> InSpectra:
        return InSpectra(fit_name(self.fit, self.bound), self.metric, randomised=self.metric == "rand_distance")

    def flops(self, profile: ModelProfile, tokens: int) -> float:
        return spectra_flops(profile) * (2 if self.metric == "rand_distance" else 1)

    def measure(self, probe: Probe) -> Measuring:
        measured = {}
        for name, value in each_on_one_thread(lambda each: (each[0], self._metric(each[1])), probe.weights.items()):
            measured[name] = value
            yield f"{name}: {self.metric}"
        return {name: measured[name] for name in probe.weights}

    def _metric(self, weight: Float[torch.Tensor, "out in"]) -> float | None:
        values = eigenvalues(weight)
        positive = nonzero(values)
        if len(positive) == 0:
            return None
        if self.metric == "rand_distance":
            return random_distance(values, randomised_eigenvalues(weight))
        try:
            tail = fit_tail(positive, self.fit, self.bound) if self.metric in OF_THE_TAIL else None
        except InputError:  # a constant spectrum has no tail, and no alpha
            return None
        bulk = fit_bulk(positive, weight.shape[0], weight.shape[1]) if self.metric == "mp_softrank" else None
        return metrics(values, tail, bulk).get(self.metric)

    def sparsities(self, profile: ModelProfile, target: float, measured: Measured | None = None) -> dict[str, float]:
        direction = METRICS[self.metric].direction
        values = {name: direction * value for name, value in complete(profile, measured, self.metric).items()}
        if self.per == "block":
            values = block_means(profile, values)
        return balance(spread(values, self.epsilon), sizes_of(profile), target)
