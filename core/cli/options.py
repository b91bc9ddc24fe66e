"""Command-line options out of pydantic fields, and configs out of the options given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core.allocation import Allocation
from core.config import Calibration, Evaluation
from core.data import Corpus
from core.errors import InputError
from core.evaluation.generation import Generation
from core.methods import Method
from core.models.sources import ModelSource
from core.patterns import Pattern
from core.registry import Component
from core.stages import Stage

Command = Callable[..., Any]
Option = Callable[[Command], Command]
_COMPONENT_PARTS: dict[str, type[Component]] = {
    "method": Method,
    "pattern": Pattern,
    "allocation": Allocation,
    "model": ModelSource,
}
_SECTIONS: dict[str, type[BaseModel]] = {"calibration": Calibration, "evaluation": Evaluation}
_PLAIN = (int, float, str, bool)
_DEFAULTS = {
    "method": "wanda",
    "pattern": "unstructured",
    "allocation": "uniform",
    "calibration_corpus": "embedded",
    "evaluation_corpus": "embedded",
}


class RunCommand(click.Command):
    """A command with every option that describes a run; made when it is called, so that plugins count."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*_parameters(), *super().get_params(ctx)]


MODEL_OPTIONS = ("model", "dtype", "device", "revision", "allow_bin")


class CompareCommand(click.Command):
    """A command with the options that all runs of a comparison share: model, calibration and evaluation."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        sections = tuple(f"{section}_" for section in _SECTIONS)
        common = [p for p in _parameters() if p.name in MODEL_OPTIONS or str(p.name).startswith(sections)]
        return [*super().get_params(ctx), *common]


class ModelCommand(click.Command):
    """A command with the options that say which model, and how it is loaded."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        return [*super().get_params(ctx), *(p for p in _parameters() if p.name in MODEL_OPTIONS)]


class EvaluateCommand(click.Command):
    """A command with the options that say which model, and on which texts."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        chosen = (p for p in _parameters() if p.name in MODEL_OPTIONS or str(p.name).startswith("evaluation_"))
        return [*super().get_params(ctx), *chosen]


class GenerateCommand(ModelCommand):
    """A command with the options that say which model, and how it continues a prompt."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        how = {name: info for name, info in Generation.model_fields.items() if name != "prompt"}
        options = [_option(name.replace("_", "-"), info) for name, info in how.items()]
        return [*super().get_params(ctx), *_made(options)]


def field_options(model: type[BaseModel], skip: Collection[str] = ()) -> list[click.Parameter]:
    """One option for each field of ``model``; what is not given is None."""
    return _made(
        [_option(name.replace("_", "-"), info) for name, info in model.model_fields.items() if name not in skip]
    )


def _parameters() -> list[click.Parameter]:
    return _made(_run_options())


def _made(options: list[Option]) -> list[click.Parameter]:
    def holder() -> None: ...

    command: Command = holder
    for option in reversed(options):
        command = option(command)
    parameters: list[click.Parameter] = list(reversed(command.__click_params__))  # type: ignore[attr-defined]
    return parameters


def _run_options() -> list[Option]:
    options: list[Option] = [
        click.option("--model", metavar="MODEL", help="embedded, a folder, or a hub id. [default: embedded]"),
        click.option("--method", metavar="METHOD", help=f"One of: {', '.join(Method.registry)}. [default: wanda]"),
        click.option(
            "--sparsity", metavar="S", help="Fraction to prune such as 0.5, or N:M such as 2:4. [default: 0.5]"
        ),
        click.option("--pattern", metavar="PATTERN", help=f"N:M, or one of: {', '.join(Pattern.registry)}."),
        click.option("--allocation", metavar="NAME", help=f"One of: {', '.join(Allocation.registry)}."),
    ]
    seen: set[str] = set()
    for part, base in _COMPONENT_PARTS.items():
        prefix = "" if part == "model" else f"{part}-"
        for cls in base.registry.classes():
            for name, info in cls.model_fields.items():
                flag = f"{prefix}{name}".replace("_", "-")
                if name not in ("id", "path") and flag not in seen:
                    seen.add(flag)
                    options.append(_option(flag, info))
    options.append(
        click.option(
            "--stage",
            "stages",
            multiple=True,
            metavar="STAGE",
            help=f"A step beside the method, as often as wanted: {', '.join(sorted(Stage.registry))}. "
            "An option of a stage asks for the stage as well.",
        )
    )
    for cls in Stage.registry.classes():
        for name, info in cls.model_fields.items():
            options.append(_option(f"{cls.name}-{name}".replace("_", "-"), info))
    for section, model in _SECTIONS.items():
        corpora = f"One of: {', '.join(_corpora_by_name())}; or the path of a text, JSON lines or parquet file."
        for name, info in model.model_fields.items():
            flag = f"{section}-{name}".replace("_", "-")
            if name == "corpus":
                options.append(click.option(f"--{flag}", metavar="CORPUS", help=corpora))
                for field, of_corpus in _corpus_fields().items():
                    options.append(_option(f"{flag}-{field}".replace("_", "-"), of_corpus))
            elif name == "also":
                said = f"{info.description} As often as wanted: {corpora}"
                options.append(click.option(f"--{flag}", metavar="CORPUS", multiple=True, help=said))
            else:
                options.append(_option(flag, info))
    return options


def _corpora_by_name() -> list[str]:
    """Those that need no path."""
    return [cls.name for cls in Corpus.registry.classes() if "path" not in cls.model_fields]


def _corpus_fields() -> dict[str, FieldInfo]:
    """The corpora's fields by name; a path is given in the corpus's place."""
    fields = (field for cls in Corpus.registry.classes() for field in cls.model_fields.items())
    return {name: info for name, info in fields if name != "path"}


def _option(flag: str, info: FieldInfo) -> Option:
    description = info.description or ""
    if info.annotation is bool:
        return click.option(f"--{flag}/--no-{flag}", default=None, help=description)
    default = "" if info.default is None else f" [default: {info.default}]"
    if get_origin(info.annotation) is Literal:
        return click.option(
            f"--{flag}", type=click.Choice([str(a) for a in get_args(info.annotation)]), help=description + default
        )
    if get_origin(info.annotation) is dict:
        return click.option(f"--{flag}", metavar="FILE", callback=_content, help=description)
    return click.option(f"--{flag}", metavar=_metavar(info), help=description + default)


def _content(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """What stands in the file; or the text itself, where it is no file's name."""
    if value is None or value.lstrip().startswith("{"):
        return value
    try:
        return Path(value).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{parameter.opts[0]} = {value!r} cannot be read ({error}); give a CSV or JSON file."
        ) from None


def _metavar(info: FieldInfo) -> str:
    kinds = [a for a in (get_args(info.annotation) or (info.annotation,)) if a in _PLAIN]
    return kinds[0].__name__.upper() if kinds else "VALUE"


def config_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of ``make_config`` that the options given stand for."""
    values = {key: value for key, value in given.items() if value is not None and value != ()}
    result: dict[str, Any] = {key: values.pop(key) for key in ("sparsity",) if key in values}
    for section, model in _SECTIONS.items():
        prefix = f"{section}_"
        corpus = _component(f"{prefix}corpus", Corpus, values).get(f"{prefix}corpus")
        chosen = {name: values.pop(prefix + name) for name in model.model_fields if prefix + name in values}
        if corpus is not None:
            chosen["corpus"] = corpus
        if chosen:
            result[section] = chosen
    if stages := _stages(values):
        result["stages"] = stages
    for part in ("method", "pattern", "allocation"):
        result |= _component(part, _COMPONENT_PARTS[part], values)
    result["model"] = values.pop("model", "embedded")
    result["model_options"] = values
    return result


def _stages(values: dict[str, Any]) -> list[Stage]:
    """Removes the stages' options from ``values``; the stages that were named or given an option."""
    named = list(values.pop("stages", ()))
    for name in named:
        Stage.registry[name]  # one that does not exist raises
    stages = []
    for cls in Stage.registry.classes():
        prefix = f"{cls.name}_"
        chosen = {name: values.pop(prefix + name) for name in cls.model_fields if prefix + name in values}
        if chosen or cls.name in named:
            stages += [cls.model_validate(chosen)] * max(1, named.count(cls.name))
    return stages


def _component(part: str, base: type[Component], values: dict[str, Any]) -> dict[str, Any]:
    """Removes this part's options from ``values``; the part as a component, or nothing where it was not mentioned."""
    prefix = f"{part}_"
    parameters = {key.removeprefix(prefix): values.pop(key) for key in list(values) if key.startswith(prefix)}
    name = values.pop(part, None)
    if name is None and not parameters:
        return {}
    component = base.parse(name or _DEFAULTS[part])
    unknown = parameters.keys() - type(component).model_fields.keys()
    if unknown:
        option = f"--{prefix}{sorted(unknown)[0]}".replace("_", "-")
        raise InputError(f"{option} is not an option of the {part.replace('_', ' ')} {component.name!r}; leave it out.")
    return {part: type(component).model_validate(component.model_dump() | parameters)}
