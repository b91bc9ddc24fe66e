"""What a layer-wise allocation rests on, measured before any run asks for it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, ClassVar

from core.allocation import Uniform
from core.config import Calibration, Evaluation, Identity, RunConfig, identify, pinned_texts
from core.data import PastedText
from core.errors import InputError
from core.events import Event
from core.measurements.base import Measurement

if TYPE_CHECKING:
    from core.measurements.base import Loader
    from core.store import Store


_UNREAD = PastedText(content="Nothing is evaluated.")


class AllocationBasis(Measurement):
    """What the allocation of ``config`` rests on."""

    name: ClassVar[str] = "allocation"
    title: ClassVar[str] = "Basis of an allocation"

    config: RunConfig
    identity: Identity

    @classmethod
    def of(cls, config: RunConfig) -> AllocationBasis:
        """Raises InputError where the model or the calibration text cannot be found."""
        relevant = cls.relevant(config)
        return cls(config=relevant, identity=identify(relevant))

    @staticmethod
    def relevant(config: RunConfig) -> RunConfig:
        """The config with defaults wherever what is measured does not depend on it: the same for every spread, say."""
        allocation = config.allocation
        text = config.calibration if allocation.reads_text else Calibration(windows=1, seqlen=8)
        measured_by = {name: getattr(allocation, name) for name in allocation.measured_by}
        tried = {"method": config.method, "pattern": config.pattern, "sparsity": config.sparsity}
        return RunConfig(
            model=config.model,
            allocation=type(allocation)(**measured_by) if allocation.measures else Uniform(),
            calibration=text,
            evaluation=Evaluation(corpus=_UNREAD, seqlen=text.seqlen, windows=1),
            **(tried if allocation.tries else {}),
        )

    @property
    def label(self) -> str:
        return f"{self.config.allocation.title}: {self.config.model.label}"

    def known(self, store: Store) -> bool:
        from core.measured import measured_values

        return measured_values(self.config, self.identity, store) is not None

    def facts(self) -> tuple[str, ...]:
        from core.measured import measured_key

        return (measured_key(self.config, self.identity),)

    def steps(self, store: Store, load: Loader) -> Generator[Event, None, None]:
        from core import phases
        from core.execution import calibration_tokens, known_or_measured

        source = self.config.model.pinned(self.identity.model_revision)
        if identify(self.config) != self.identity:
            raise InputError(
                f"model = {self.config.model.label!r} or the calibration text has changed since; start again."
            )
        config = pinned_texts(self.config, self.identity)
        yield phases.reading([(config.calibration.corpus, "calibration")])
        calibration = calibration_tokens(config, source)
        yield phases.loading(source)
        loaded = load(source)
        yield from known_or_measured(self.config, self.identity, store, loaded.model, calibration)
