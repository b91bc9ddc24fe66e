"""Widgets out of configs' own fields: nothing here knows any method, pattern or corpus by name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Literal, get_args, get_origin

import streamlit as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.registry import ADVANCED, LONG_TEXT, Component


def fields(model: type[BaseModel], prefix: str, skip: Collection[str] = ()) -> dict[str, Any]:
    """One widget for each field of ``model``; returns what they say. Keys, and query parameters, are ``prefix_field``.

    Fields marked as advanced go into an expander of their own.
    """
    shown = {name: info for name, info in model.model_fields.items() if name not in skip}
    advanced = {name: info for name, info in shown.items() if info.json_schema_extra == ADVANCED}
    values = {name: _widget(info, f"{prefix}_{name}", name) for name, info in shown.items() if name not in advanced}
    if advanced:
        with st.expander(", ".join(str(info.title or name) for name, info in advanced.items())):
            values |= {name: _widget(info, f"{prefix}_{name}", name) for name, info in advanced.items()}
    return values


def component(base: type[Component], key: str, label: str, default: str, help: str | None = None) -> dict[str, Any]:
    """A choice among the registered components of ``base``, with the chosen one's summary and fields; its JSON form."""
    classes = {cls.name: cls for cls in base.registry.classes()}
    name = st.selectbox(
        label,
        list(classes),
        index=list(classes).index(default),
        format_func=lambda name: classes[name].title,
        key=key,
        bind="query-params",
        help=help,
    )
    _explained(classes[name])
    return {base.kind: name, **fields(classes[name], f"{key}_{name}")}


def components(
    base: type[Component],
    key: str,
    label: str,
    help: str | None = None,
    default: Collection[str] = (),
    brief: bool = False,
    repeated: bool = False,
) -> list[dict[str, Any]]:
    """Any number of the registered components of ``base``, each with its summary and fields; their JSON forms.

    ``brief``: the summary only on demand, without formula and paper. ``repeated``: what has fields may be chosen several
    times, as two files of a kind.
    """
    classes = {cls.name: cls for cls in sorted(base.registry.classes(), key=lambda cls: getattr(cls, "order", 0))}
    chosen = st.multiselect(
        label,
        list(classes),
        default=list(default),
        format_func=lambda name: classes[name].title,
        key=key,
        bind="query-params",
        help=help,
        placeholder="None",
    )
    values = []
    for name in (name for name in classes if name in chosen):
        with st.container(border=True):
            st.markdown(f"**{classes[name].title}**", help=getattr(classes[name], "summary", None) if brief else None)
            if not brief:
                _explained(classes[name])
            many = _how_many(f"{key}_{name}") if repeated and classes[name].model_fields else 1
            values += [{base.kind: name, **fields(classes[name], _nth(f"{key}_{name}", nth))} for nth in range(many)]
    return values


_MANY, _MOST = "_many", 9
"""Where it is kept how many there are of a kind, and how many there can be."""


def _how_many(key: str) -> int:
    return int(st.number_input("How many of these", 1, _MOST, 1, key=f"{key}{_MANY}", bind="query-params"))


def _nth(prefix: str, nth: int) -> str:
    """Where the fields of the ``nth`` (from 0) component of a kind are kept."""
    return f"{prefix}_{nth + 1}" if nth else prefix


def _placed(chosen: Sequence[Component], key: str) -> list[tuple[str, Component]]:
    """Each component with the prefix of its fields."""
    names = [component.name for component in chosen]
    return [(_nth(f"{key}_{one.name}", names[:number].count(one.name)), one) for number, one in enumerate(chosen)]


def _explained(cls: type[Component]) -> None:
    """What a component does, with its formula, its paper and how to cite it, where it says so."""
    if summary := getattr(cls, "summary", None):
        st.caption(summary)
    formula, reference = getattr(cls, "formula", None), getattr(cls, "reference", None)
    if formula or reference:
        with st.popover("Formula and paper" if reference else "Formula", icon=":material/function:"):
            if formula:
                st.latex(formula)
            if reference:
                st.markdown(f"[{reference.title}]({reference.link}), {reference}")
                st.code(reference.bibtex, language="bibtex", wrap_lines=True)


def _widget(info: FieldInfo, key: str, name: str) -> Any:
    label = info.title or name.replace("_", " ").capitalize()
    shared: dict[str, Any] = {"key": key, "help": info.description, "bind": "query-params"}
    kinds = get_args(info.annotation) or (info.annotation,)
    if info.annotation is bool:
        return st.toggle(label, info.default, **shared)
    if get_origin(info.annotation) is Literal:
        titles = _titles(info)
        return st.selectbox(
            label,
            list(kinds),
            index=list(kinds).index(info.default),
            format_func=lambda kind: titles.get(kind, kind),
            **shared,
        )
    if get_origin(info.annotation) is dict:
        return st.text_area(label, "", placeholder='{"0": 0.4, "1": 0.6}', **shared).strip()
    if info.json_schema_extra == LONG_TEXT:
        unbound = shared | {"bind": None, "persist_state": "session"}  # an address has no room for it
        st.session_state.setdefault(key, info.default)
        return st.text_area(label, height=200, **unbound)
    if int in kinds or float in kinds:
        return _number(info, label, int if int in kinds else float, shared)
    return st.text_input(label, info.default or "", **shared).strip()


def _titles(info: FieldInfo) -> dict[str, str]:
    """What forms call the choices of a field, where it says so."""
    extra = info.json_schema_extra
    titles: Any = extra.get("titles", {}) if isinstance(extra, dict) else {}
    return dict(titles)


def address(component: Component, key: str) -> dict[str, Any]:
    """The query parameters for which ``component(…, key, …)`` comes up with this component."""
    return {key: component.title, **fields_address(component, f"{key}_{component.name}")}


def long_texts(chosen: Sequence[Component], key: str) -> dict[str, str]:
    """What the session has to hold, beside the address, for which ``component`` or ``components`` (…, key, …) comes up with
    these."""
    return {
        f"{prefix}_{name}": getattr(component, name)
        for prefix, component in _placed(chosen, key)
        for name, info in type(component).model_fields.items()
        if info.json_schema_extra == LONG_TEXT
    }


def addresses(chosen: Sequence[Component], key: str) -> dict[str, Any]:
    """The query parameters for which ``components(…, key, …)`` comes up with these components."""
    kinds = Counter(component.name for component in chosen)
    titles = {component.title: None for component in chosen}
    found: dict[str, Any] = {key: list(titles)} if chosen else {}
    found |= {f"{key}_{name}{_MANY}": str(many) for name, many in kinds.items() if many > 1}
    for prefix, component in _placed(chosen, key):
        found |= fields_address(component, prefix)
    return found


def fields_address(model: BaseModel, prefix: str, skip: Collection[str] = ()) -> dict[str, Any]:
    """The query parameters for which ``fields(…, prefix)`` comes up with these values; defaults need none."""
    found = {}
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        if name in skip or info.json_schema_extra == LONG_TEXT or value == info.get_default(call_default_factory=True):
            continue
        plain = json.dumps(value) if isinstance(value, dict | bool) else str(0 if value is None else value)
        plain = _titles(info).get(plain, plain)  # the address of a choice holds its title
        found[f"{prefix}_{name}"] = plain
    return found


def _number(info: FieldInfo, label: str, kind: type[int] | type[float], shared: dict[str, Any]) -> Any:
    """A number input whose bounds, default and step all have the field's own type, as Streamlit demands."""
    low: Any = None
    high: Any = None
    share = False
    for bound in info.metadata:
        low = getattr(bound, "ge", getattr(bound, "gt", low))
        high = getattr(bound, "le", getattr(bound, "lt", high))
        share |= kind is float and getattr(bound, "lt", 2) <= 1
    low, high, default = (None if value is None else kind(value) for value in (low, high, info.default))
    if type(None) in get_args(info.annotation) and default is not None:
        low = kind(0)  # stands for None: an emptied field would not be in the address
    shared |= {"step": kind(1 if kind is int else 0.01), "format": "%d" if kind is int else "%.3g"}
    if share:  # a share below some bound: there is more to see in moving it than in typing it
        return st.slider(label, low, high - 0.01, default, **shared)
    return st.number_input(label, low, high, default, **shared)
