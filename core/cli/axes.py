"""Axes of a sweep as text: ``method=wanda,ria:power=0.3``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from core.allocation import Allocation
from core.errors import InputError
from core.methods import Method
from core.models.sources import parse_source
from core.patterns import Pattern
from core.registry import Component
from core.stages import Stage
from core.stages.reallocation import Reallocation
from core.sweeps import Axis

_KINDS: dict[str, type[Component]] = {"method": Method, "pattern": Pattern, "allocation": Allocation}


def parse_axes(texts: Iterable[str]) -> tuple[Axis, ...]:
    """``name=value,value,…`` each; the same name again adds values. Raises InputError naming the axis.

    A component takes its parameters after a colon (``owl:threshold=7,band=0.1``); a set of stages is written with plus signs
    (``lsa+reconstruction``, none for no stage); a list in JSON is taken as it is, for values that hold commas.
    """
    values: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, listed = text.partition("=")
        if not equals or not name.strip():
            raise InputError(
                f"axis = {text!r} has no values; write it as name=value,value such as sparsity=0.3,0.5,0.7."
            )
        values.setdefault(name.strip(), []).extend(_values(name.strip(), listed))
    return tuple(Axis.of(name, *found) for name, found in values.items())


def _values(path: str, listed: str) -> Iterator[Any]:
    if listed.lstrip().startswith("["):
        try:
            yield from json.loads(listed)
        except ValueError as error:
            raise InputError(f"axis {path} = {listed!r} is not a list in JSON ({error}).") from None
        return
    for text in _split(listed):
        yield _value(path, text)


def _split(listed: str) -> list[str]:
    """At commas, except those between the parameters of a component: ``a:x=1,y=2,b`` is ``a:x=1,y=2`` and ``b``."""
    texts: list[str] = []
    for part in filter(None, map(str.strip, listed.split(","))):
        if texts and ":" in texts[-1] and "=" in part and ":" not in part.partition("=")[0]:
            texts[-1] += f",{part}"
        else:
            texts.append(part)
    return texts


def _value(path: str, text: str) -> Any:
    if path in _KINDS:
        return component(_KINDS[path], text)
    if path == "stages":
        return stage_set(text)
    if path == "model":
        return parse_source(text)
    if path.endswith(".corpus"):
        return text
    try:
        return json.loads(text)  # a parameter's number or truth value
    except ValueError:
        return text


def component(base: type[Component], text: str) -> Component:
    """What ``name`` or ``name:parameter=value,parameter=value`` stands for. Raises InputError or ValidationError."""
    name, colon, parameters = text.partition(":")
    if not colon or "=" not in parameters:
        return base.parse(text)
    pairs = [part.partition("=") for part in parameters.split(",")]
    cls: type[Component] = base.registry[name.strip()]
    return cls.model_validate({key.strip(): value.strip() for key, _, value in pairs})


def stage_set(text: str) -> list[Stage]:
    """Stages used together; ``lsa`` stands for reallocation with LSA, ``none`` for no stage."""
    names = [] if text == "none" else [name.strip() for name in text.split("+")]
    return [Reallocation(lsa=True) if name == "lsa" else component(Stage, name) for name in names]  # type: ignore[misc]
