"""What the pruning benchmark measures: methods with their stages, and the limit of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from core.config import RunConfig

NM: dict[str, Any] = {"pattern": {"pattern": "nm"}}


@dataclass(frozen=True)
class Case:
    """``limit``: of the ratio to two bare forwards of the blocks, at 16 × 256 tokens."""

    title: str
    limit: float | None
    config: dict[str, Any]

    def run_config(self, windows: int, seqlen: int) -> RunConfig:
        return RunConfig.model_validate({"calibration": {"windows": windows, "seqlen": seqlen}, **self.config})


def _plain(method: str) -> dict[str, Any]:
    return {"method": {"method": method}}


CASES = {
    "magnitude": Case("Magnitude 50 %", 0.1, _plain("magnitude")),
    "wanda": Case("Wanda 50 %", 1.05, _plain("wanda")),
    "ria": Case("RIA 50 %", 1.05, _plain("ria")),
    "clearcut": Case("ClearCut 50 %", 1.05, _plain("clearcut")),
    "sparsegpt": Case("SparseGPT 50 %", 1.6, _plain("sparsegpt")),
    "sparsegpt-2:4": Case("SparseGPT 2:4", 1.7, _plain("sparsegpt") | NM),
    "barber": Case("Wanda 50 % + LLM-Barber", 4.0, _plain("wanda") | {"stages": [{"stage": "barber"}]}),
    "ria-2:4": Case("RIA 2:4 + reallocation", 1.2, _plain("ria") | NM | {"stages": [{"stage": "reallocation"}]}),
    "ria-2:4-lsa": Case(
        "RIA 2:4 + reallocation with LSA",
        5.0,
        _plain("ria") | NM | {"stages": [{"stage": "reallocation", "lsa": True}]},
    ),
}
