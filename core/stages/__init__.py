"""Stages that compose with methods: one class a file; every file of this folder is found by itself."""

from core.discovery import import_all
from core.stages.base import AnyStage, BlockStage, FactorStage, MaskStage, RefineStage, Stage, TuneStage, UpdateStage

import_all(__name__, __path__)

__all__ = ["AnyStage", "BlockStage", "FactorStage", "MaskStage", "RefineStage", "Stage", "TuneStage", "UpdateStage"]
