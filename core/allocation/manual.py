"""A sparsity for each block or module, given by hand or from a file."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, field_validator

from core.allocation.balance import TOLERANCE, balance, sizes_of
from core.allocation.base import Allocation, Measured
from core.allocation.table import read_sparsities
from core.errors import InputError
from core.profile import ModelProfile


def _from_text(values: Any) -> Any:
    return read_sparsities(values) if isinstance(values, str) else values


class Manual(Allocation):
    """The sparsities given: a module's own, else its block's; by default scaled so that their mean is the target."""

    name: ClassVar[str] = "manual"
    title: ClassVar[str] = "Manual"
    summary: ClassVar[str] = (
        "Your own sparsity for each block or module: type it, paste it, or edit it in the allocation studio."
    )

    values: Annotated[dict[str, float], BeforeValidator(_from_text)] = Field(
        default_factory=dict,
        title="Sparsity by block or module",
        description='JSON such as {"0": 0.4, "1": 0.6}, or a CSV with the columns module (or block) and sparsity. '
        "A module's own entry counts before its block's.",
    )
    scale: bool = Field(
        True,
        title="Scale to the target",
        description="Multiply all by one factor so that their mean, weighted by parameters, is the sparsity. Off: it must be.",
    )

    @field_validator("values")
    @classmethod
    def _are_sparsities(cls, values: dict[str, float]) -> dict[str, float]:
        for key, value in values.items():
            if not 0 <= value < 1:
                raise InputError(f"values: {key} has the sparsity {value:g}, which is outside [0, 1).")
        return values

    def sparsities(self, profile: ModelProfile, target: float, measured: Measured | None = None) -> dict[str, float]:
        found = self._by_module(profile)
        mean = sum(found[module.name] * module.parameters for module in profile.modules) / profile.prunable
        if abs(mean - target) <= TOLERANCE:
            return found
        if not self.scale:
            raise InputError(
                f"allocation = manual has the mean {mean:.6f}, weighted by parameters, but sparsity = {target:g}; "
                "set the sparsity to the mean, or let the values be scaled."
            )
        return balance(found, sizes_of(profile), target)

    def _by_module(self, profile: ModelProfile) -> dict[str, float]:
        names = {module.name for module in profile.modules}
        if unknown := [key for key in self.values if key not in names and not _is_block(key, profile)]:
            raise InputError(
                f"allocation = manual names {unknown[0]!r}, which is neither a module of this model, such as "
                f"{profile.modules[0].name!r}, nor one of its blocks 0 to {profile.blocks - 1}."
            )
        found = {}
        for module in profile.modules:
            value = self.values.get(module.name, self.values.get(str(module.block)))
            if value is None:
                raise InputError(
                    f"allocation = manual gives no sparsity for {module.name}; give one for it, or for block {module.block}."
                )
            found[module.name] = value
        return found


def _is_block(key: str, profile: ModelProfile) -> bool:
    return key.isdecimal() and int(key) < profile.blocks
