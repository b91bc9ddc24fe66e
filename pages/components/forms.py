"""Widgets out of configs' own fields: nothing here knows any method, pattern or corpus by name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal, get_args, get_origin

import streamlit as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.registry import ADVANCED, Component


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


def components(base: type[Component], key: str, label: str, help: str | None = None) -> list[dict[str, Any]]:
    """Any number of the registered components of ``base``, each with its summary and fields; their JSON forms."""
    classes = {cls.name: cls for cls in sorted(base.registry.classes(), key=lambda cls: getattr(cls, "order", 0))}
    chosen = st.multiselect(
        label,
        list(classes),
        format_func=lambda name: classes[name].title,
        key=key,
        bind="query-params",
        help=help,
        placeholder="None",
    )
    values = []
    for name in (name for name in classes if name in chosen):
        with st.container(border=True):
            st.markdown(f"**{classes[name].title}**")
            _explained(classes[name])
            values.append({base.kind: name, **fields(classes[name], f"{key}_{name}")})
    return values


def _explained(cls: type[Component]) -> None:
    """What a component does, with its formula, its paper and how to cite it, where it says so."""
    if summary := getattr(cls, "summary", None):
        st.caption(summary)
    if reference := getattr(cls, "reference", None):
        with st.popover("Formula and paper", icon=":material/function:"):
            st.latex(getattr(cls, "formula", ""))
            st.markdown(f"[{reference.title}]({reference.link}), {reference}")
            st.code(reference.bibtex, language="bibtex", wrap_lines=True)


def _widget(info: FieldInfo, key: str, name: str) -> Any:
    label = info.title or name.replace("_", " ").capitalize()
    shared: dict[str, Any] = {"key": key, "help": info.description, "bind": "query-params"}
    kinds = get_args(info.annotation) or (info.annotation,)
    if info.annotation is bool:
        return st.toggle(label, info.default, **shared)
    if get_origin(info.annotation) is Literal:
        return st.selectbox(label, list(kinds), index=list(kinds).index(info.default), **shared)
    if int in kinds or float in kinds:
        return _number(info, label, int if int in kinds else float, shared)
    return st.text_input(label, info.default or "", **shared).strip()


def _number(info: FieldInfo, label: str, kind: type[int] | type[float], shared: dict[str, Any]) -> Any:
    """A number input whose bounds, default and step all have the field's own type, as Streamlit demands."""
    low: Any = None
    high: Any = None
    for bound in info.metadata:
        low = getattr(bound, "ge", getattr(bound, "gt", low))
        high = getattr(bound, "le", getattr(bound, "lt", high))
    low, high, default = (None if value is None else kind(value) for value in (low, high, info.default))
    optional = type(None) in get_args(info.annotation)
    shared |= {"step": kind(1 if kind is int else 0.01), "format": "%d" if kind is int else "%.3g"}
    return st.number_input(label, low, high, default, placeholder="all" if optional else None, **shared)
