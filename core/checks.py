"""What can be known to go wrong before any long work starts."""

from __future__ import annotations

from core.config import RunConfig
from core.errors import InputError
from core.profile import ModelProfile


def check(config: RunConfig, profile: ModelProfile) -> None:
    """Raises InputError, one sentence, where ``config`` cannot be run on a model with this profile."""
    for module in profile.modules:
        config.pattern.check(module.name, module.shape)
    for part, seqlen in (("calibration", config.calibration.seqlen), ("evaluation", config.evaluation.seqlen)):
        if profile.max_seqlen is not None and seqlen > profile.max_seqlen:
            raise InputError(
                f"{part}.seqlen = {seqlen} is beyond the model's maximum of {profile.max_seqlen} tokens; choose shorter windows."
            )
    config.allocation.sparsities(profile, config.sparsity)
