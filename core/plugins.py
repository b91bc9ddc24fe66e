"""Modules from outside that register methods, patterns, statistics and the like by being imported."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from core.errors import InputError
from core.settings import settings

_loaded: dict[str, ModuleType] = {}


def load_plugins() -> None:
    """Imports the modules that ``PRUNESCOPE_PLUGINS`` names and that are not imported yet.

    Raises InputError, naming the plugin, where one cannot be imported.
    """
    for name in filter(None, map(str.strip, settings().plugins.split(","))):
        if name in _loaded:
            continue
        try:
            module = _from_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
        except (ImportError, OSError, SyntaxError) as error:
            raise InputError(f"plugin = {name!r} cannot be imported: {error}.") from error
        _loaded[name] = module


def _from_file(file: Path) -> ModuleType:
    """A module out of a file, under a name that stays the same wherever this process stands."""
    file = file.expanduser().absolute()
    name = f"prunescope_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ImportError("it is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
