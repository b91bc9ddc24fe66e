"""A statistic of your own, and a method that reads it: Wanda with the mean absolute input."""

from typing import ClassVar

import torch

from core import Reference, ScoreMethod, Statistic


class L1Norm(Statistic):
    """``sum_t |X[t, j]| / n_seq``: the L1 norm of input feature j, per sequence; shape [in]."""

    name = "l1_norm"

    def __init__(self, in_features, sequences, device):
        super().__init__(in_features, sequences, device)
        self._sum = torch.zeros(in_features, device=device)

    def update(self, x):
        self._sum += x.abs().sum(dim=0)

    def finish(self):
        return self._sum / self.sequences


class WandaL1(ScoreMethod):
    """``score_ij = |W_ij| * l1_j``, compared within each output row."""

    name: ClassVar[str] = "wanda_l1"
    title: ClassVar[str] = "Wanda with an L1 norm"
    summary: ClassVar[str] = "Wanda, but an input counts by its mean absolute value, which loud outliers move less."
    formula: ClassVar[str] = r"S_{ij} = |W_{ij}| \cdot \|X_j\|_1"
    reference: ClassVar[Reference] = Reference(
        "you", "An example of this repository", ("You",), 2026, url="examples/l1_norm.py"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"l1_norm"})
    group: ClassVar = "output"

    def score(self, weight, stats):
        return weight.abs() * stats["l1_norm"]
