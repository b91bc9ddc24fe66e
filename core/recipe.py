"""What a config asks of the engine."""

from __future__ import annotations

from dataclasses import dataclass

from core.config import RunConfig
from core.patterns import Pattern
from core.stages import BlockStage, FactorStage, MaskStage, RefineStage, TuneStage, UpdateStage


@dataclass(frozen=True)
class Recipe:
    """A config's method and stages, sorted by what the engine does with them."""

    config: RunConfig
    pattern: Pattern
    needs: frozenset[str]
    mask_stage: MaskStage | None
    reworking: list[RefineStage | UpdateStage]
    block_stages: list[BlockStage]
    tune_stage: TuneStage | None
    factor_stage: FactorStage | None

    @classmethod
    def of(cls, config: RunConfig) -> Recipe:
        return cls(
            config,
            config.pattern.resolve(config.method.group),
            config.needs | {"sample"},
            next((stage for stage in config.stages if isinstance(stage, MaskStage)), None),
            [stage for stage in config.stages if isinstance(stage, RefineStage | UpdateStage)],
            [stage for stage in config.stages if isinstance(stage, BlockStage)],
            next((stage for stage in config.stages if isinstance(stage, TuneStage)), None),
            next((stage for stage in config.stages if isinstance(stage, FactorStage)), None),
        )

    @property
    def needs_text(self) -> bool:
        """Whether anything is decided by the calibration text; if not, it only serves to measure the error."""
        return bool(self.needs - {"sample"} or self.config.one_by_one)

    @property
    def follows_dense(self) -> bool:
        """Whether the dense model's hidden states go along."""
        return self.tune_stage is not None and self.tune_stage.target == "dense"

    @property
    def reworks_block(self) -> bool:
        """Whether the block changes after its block stages."""
        return bool(self.tune_stage or self.factor_stage)

    @property
    def looks_back(self) -> bool:
        """Whether anything still asks for a module's dense weight once it is pruned."""
        return bool(self.block_stages or self.tune_stage or self.factor_stage)
