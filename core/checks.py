"""What can be known to go wrong before any long work starts."""

from __future__ import annotations

from core.allocation import Uniform, allocate
from core.config import RunConfig
from core.errors import InputError
from core.profile import ModelProfile
from core.stages import FactorStage


def check(config: RunConfig, profile: ModelProfile) -> None:
    """Raises InputError, one sentence, where ``config`` cannot be run on a model with this profile."""
    for module in profile.modules:
        config.pattern.check(module.name, module.shape)
    for part, seqlen in (("calibration", config.calibration.seqlen), ("evaluation", config.evaluation.seqlen)):
        check_seqlen(part, seqlen, profile)
    if config.pattern.mixes:
        allocate(Uniform(), config.pattern, profile, config.sparsity)  # what one allocation can reach, all can
    if config.allocation.measures is None:
        allocate(config.allocation, config.pattern, profile, config.sparsity)
    for stage in config.stages:
        if isinstance(stage, FactorStage):
            chosen = [module for module in profile.modules if stage.chooses(module.name, module.label)]
            if not chosen:
                raise InputError(
                    f"stage = {stage.name} chooses none of the model's modules, such as {profile.modules[0].name}; "
                    "change its patterns."
                )
            for module in chosen:
                stage.check_module(module.name, module.shape)


def check_seqlen(part: str, seqlen: int, profile: ModelProfile) -> None:
    """Raises InputError where windows of ``part`` are longer than the model can read."""
    if profile.max_seqlen is not None and seqlen > profile.max_seqlen:
        raise InputError(
            f"{part}.seqlen = {seqlen} is beyond the model's maximum of {profile.max_seqlen} tokens; choose shorter windows."
        )
