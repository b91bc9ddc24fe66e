"""One axis of a sweep: a part of the config by its dotted path, and the values it takes in turn."""

from __future__ import annotations

import json
from typing import Annotated, Any, Self

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError, model_validator

from core.config import RunConfig
from core.errors import InputError, explain
from core.patterns import Pattern
from core.registry import Component

SPARSITY, PATTERN, SEED = "sparsity", "pattern", "calibration.seed"


class Axis(BaseModel, frozen=True, extra="forbid"):
    """``path`` names a part of RunConfig (``method``, ``sparsity``, ``allocation.epsilon``, ``calibration.seed`` …).

    ``values`` are kept in their full JSON form, each once, so that the same axis always reads the same. The sparsity also
    takes patterns that fix it ("2:4"). Raises InputError, naming axis and value, for what a config cannot hold there.
    """

    path: str
    values: tuple[JsonValue, ...]

    @model_validator(mode="before")
    @classmethod
    def _in_full(cls, given: Any) -> Any:
        if not (isinstance(given, dict) and isinstance(path := given.get("path"), str)):
            return given
        owner, name = _place(path)
        values = given.get("values")
        if not isinstance(values, list | tuple) or not values:
            raise InputError(f"axis {path} = {values!r} has no values; give a list of at least one.")
        once = {
            json.dumps(value, sort_keys=True): value for value in (_full(path, owner, name, value) for value in values)
        }
        return given | {"values": tuple(once.values())}

    @classmethod
    def of(cls, path: str, *values: Any) -> Self:
        """An axis from values as a config takes them: plain ones, names, or components."""
        return cls.model_validate({"path": path, "values": values})

    def words(self, value: Any) -> str:
        """One of the values as people read it."""
        owner, name = _place(self.path)
        plain = issubclass(owner, Component) or (self.path == SPARSITY and isinstance(value, str))
        return words(value if plain else _adapter(owner, name).validate_python(value))


def words(value: Any) -> str:
    """A part of a config as people read it: a component by its label or title, other things as they are."""
    if isinstance(value, Pattern):
        return value.label if value.span else value.described
    if isinstance(value, Component):
        label = getattr(value, "label", None)
        return label if isinstance(label, str) else value.described
    if value is None or value == ():
        return "–"
    if isinstance(value, tuple):
        return ", ".join(map(words, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def value_at(config: RunConfig, path: str) -> Any:
    """What ``config`` has at ``path``: a number, or words; None where its component has no such parameter."""
    value: Any = config
    for name in path.split("."):
        value = getattr(value, name, None)
    return value if value is None or isinstance(value, int | float) else words(value)


def _place(path: str) -> tuple[type[BaseModel], str]:
    """The class (RunConfig, a section, a kind of component) and its field that ``path`` names. Raises InputError."""
    owner: type[BaseModel] = RunConfig
    *above, name = path.split(".")
    for part in above:
        inner = _class(owner, part)
        if inner is None:
            raise InputError(f"axis {path} is no part of a run; {_available()}")
        owner = inner
    if issubclass(owner, Component):
        if not any(name in cls.model_fields for cls in owner.registry.classes()):
            raise InputError(f"axis {path}: no {owner.kind} has a parameter {name!r}; correct its name.")
    elif name not in owner.model_fields or _is_section(_class(owner, name)):
        raise InputError(f"axis {path} is no part of a run; {_available()}")
    return owner, name


def _class(owner: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The model class of a field; None where it is none, or there is no such field."""
    field = owner.model_fields.get(name)
    kind = field.annotation if field else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _is_section(kind: type[BaseModel] | None) -> bool:
    return kind is not None and not issubclass(kind, Component)


def _available() -> str:
    names: list[str] = []
    for name in RunConfig.model_fields:
        kind = _class(RunConfig, name)
        names += [f"{name}.{inner}" for inner in kind.model_fields] if kind and _is_section(kind) else [name]
    return f"choose one of {', '.join(names)}, or a parameter such as allocation.epsilon."


def _full(path: str, owner: type[BaseModel], name: str, value: Any) -> Any:
    """The JSON form of ``value`` with every default written out; a component's parameter as it is, for there may be
    several components that have it."""
    if issubclass(owner, Component):
        return value
    adapter = _adapter(owner, name)
    try:
        if path == SPARSITY and isinstance(value, str) and ":" in value:
            return Pattern.parse(value).label
        # A section has validators of its own; those of a whole config are about how its parts go together.
        checked = value if owner is RunConfig else getattr(owner.model_validate({name: value}), name)
        return adapter.dump_python(adapter.validate_python(checked), mode="json")
    except (ValidationError, InputError) as error:
        raise InputError(f"axis {path}: {explain(error)}") from None


def _adapter(owner: type[BaseModel], name: str) -> Any:
    field = owner.model_fields[name]
    return TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
