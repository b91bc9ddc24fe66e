"""The points of a sweep as they stand when it is submitted: what their words mean now, and when each one's turn comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from core.checks import check
from core.config import Identity, RunConfig, identify
from core.errors import InputError
from core.models.sources import ModelSource
from core.profile import ModelProfile
from core.sweeps.sweep import LeftOut, Sweep


class Point(NamedTuple):
    """One run of a sweep; the one with the lowest ``turn`` is run first."""

    config: RunConfig
    identity: Identity
    turn: int

    @property
    def run_id(self) -> str:
        return self.identity.run_id(self.config)


def settle(sweep: Sweep, profile_of: Callable[[ModelSource], ModelProfile]) -> tuple[list[Point], list[LeftOut]]:
    """The points in the order of the axes, and every combination that is left out: also what a model cannot take.

    Models and texts are resolved once, so that the points stay what they are when a file changes. Raises InputError where
    one cannot be found, and where no point remains.
    """
    identities: dict[str, Identity] = {}
    profiles: dict[str, ModelProfile] = {}
    left_out = list(sweep.left_out)
    possible = []
    for planned in sweep.planned:
        config, model = planned.config, planned.config.model.canonical()
        if model not in profiles:
            profiles[model] = profile_of(config.model)
        try:
            check(config, profiles[model])
        except InputError as error:
            left_out.append(sweep.without(planned.choice, str(error)))
            continue
        texts = f"{model} {config.calibration.corpus.canonical()} {config.evaluation.model_dump_json()}"
        if texts not in identities:
            identities[texts] = identify(config)
        possible.append((planned, identities[texts].model_copy(update={"versions": config.versions})))
    if not possible:
        raise InputError(f"Nothing of this goes together: {left_out[0].reason}")
    turns = {turn: number for number, turn in enumerate(sorted(planned.turn for planned, _ in possible))}
    return [Point(planned.config, identity, turns[planned.turn]) for planned, identity in possible], left_out
