"""Names to classes: how methods, patterns, allocations, statistics and corpora are found.

A class registers by being defined; one outside this repository is found through the entry point group of its kind
(``prunescope.methods``, ``prunescope.patterns``, …), or in a module that ``PRUNESCOPE_PLUGINS`` (``--plugin``) names.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Annotated, Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, PlainSerializer, WithJsonSchema

from core.errors import InputError
from core.plugins import load_plugins

T = TypeVar("T")

ADVANCED: dict[str, Any] = {"advanced": True}
"""``Field(json_schema_extra=ADVANCED)`` marks a parameter that forms show only when asked for."""

LONG_TEXT: dict[str, Any] = {"long_text": True}
"""``Field(json_schema_extra=LONG_TEXT)`` marks a text too long for one line, and for an address."""


def titled(titles: Mapping[str, str]) -> dict[str, Any]:
    """``Field(json_schema_extra=titled(…))`` says how forms call the choices of a parameter."""
    return {"titles": dict(titles)}


_PLURALS = {"corpus": "corpora"}


class Registry(Generic[T]):
    """The classes of one kind by name; a miss names the nearest and lists what there is."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._classes: dict[str, type[T]] = {}
        self._entry_points_loaded = False

    def add(self, name: str, cls: type[T]) -> None:
        known = self._classes.get(name)
        # Hot reload defines the same class again: same place, so not a clash.
        if known and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(
                f"Two classes register the {self.kind} {name!r}: {known.__module__}.{known.__qualname__} "
                f"and {cls.__module__}.{cls.__qualname__}; rename one."
            )
        self._classes[name] = cls

    def __getitem__(self, name: str) -> type[T]:
        self._load_plugins()
        try:
            return self._classes[name]
        except KeyError:
            near = difflib.get_close_matches(name, self._classes, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            available = ", ".join(sorted(self._classes))
            raise InputError(f"Unknown {self.kind} {name!r}.{hint} Available: {available}.") from None

    def __iter__(self) -> Iterator[str]:
        """The names, in an order that does not depend on what was imported first."""
        self._load_plugins()
        return iter(sorted(self._classes))

    def classes(self) -> list[type[T]]:
        return [self._classes[name] for name in self]

    def _load_plugins(self) -> None:
        load_plugins()
        if self._entry_points_loaded:
            return
        self._entry_points_loaded = True
        for entry in entry_points(group=f"prunescope.{_PLURALS.get(self.kind, f'{self.kind}s')}"):
            entry.load()


class Component(BaseModel, frozen=True, extra="forbid"):
    """A frozen choice with its own parameters; written in JSON as ``{kind: name, **parameters}``."""

    kind: ClassVar[str]
    name: ClassVar[str]
    title: ClassVar[str]
    registry: ClassVar[Registry[Any]]
    version: ClassVar[int] = 1
    """Raised whenever the results change, so that old runs are not mistaken for new ones."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "kind" in cls.__dict__:
            cls.registry = Registry(cls.kind)
        if "name" in cls.__dict__:
            cls.registry.add(cls.name, cls)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The component a short text names; a kind may understand more than names ("2:4")."""
        return cls.registry[text]()  # type: ignore[no-any-return]

    @classmethod
    def coerce(cls, value: Any) -> Any:
        """A component from itself, its name, or its JSON form."""
        if isinstance(value, str):
            return cls.parse(value)
        if isinstance(value, dict):
            parameters = dict(value)
            name = parameters.pop(cls.kind, None)
            if not isinstance(name, str):
                known = ", ".join(sorted(cls.registry))
                raise InputError(f"{cls.kind} = {value!r} does not name a {cls.kind}; available: {known}.")
            return cls.registry[name].model_validate(parameters)
        return value

    def dump(self) -> dict[str, Any]:
        return {self.kind: self.name, **self.model_dump(mode="json")}

    @property
    def described(self) -> str:
        """The title with the parameters that differ from their defaults."""
        changed = []
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if value != info.get_default(call_default_factory=True):
                changed.append(name if value is True or isinstance(value, dict) else f"{name} {value}")
        return f"{self.title} ({', '.join(changed)})" if changed else self.title

    def canonical(self) -> str:
        """The same JSON text for the same component."""
        return json.dumps(self.dump(), sort_keys=True, separators=(",", ":"))


C = TypeVar("C", bound=Component)


def component_field(base: type[C]) -> Any:
    """The field type that holds any registered component of ``base``, also one registered later."""
    return Annotated[
        base,
        BeforeValidator(base.coerce),
        PlainSerializer(lambda component: component.dump()),
        WithJsonSchema({"type": "object", "title": base.kind}),
    ]
