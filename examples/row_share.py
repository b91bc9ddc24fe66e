"""A method of your own: magnitude, relative to the row."""

from typing import ClassVar

from pydantic import Field

from core import Reference, ScoreMethod


class RowShare(ScoreMethod):
    """``score_ij = |W_ij| / (sum_j |W_ij|)^p``, compared over the whole matrix."""

    name: ClassVar[str] = "row_share"
    title: ClassVar[str] = "Row share"
    summary: ClassVar[str] = "Magnitude, relative to the sum of its row: no output can lose everything."
    formula: ClassVar[str] = r"S_{ij} = |W_{ij}| \,/\, \left(\textstyle\sum_j |W_{ij}|\right)^p"
    reference: ClassVar[Reference] = Reference(
        "you", "An example of this repository", ("You",), 2026, url="examples/row_share.py"
    )

    power: float = Field(1.0, ge=0, le=1, title="Power p", description="0 is plain magnitude, 1 the share of the row.")

    def score(self, weight, stats):
        return weight.abs() / weight.abs().sum(dim=1, keepdim=True).clamp(min=1e-12) ** self.power
