"""Modules from outside that register methods, patterns, statistics and the like by being imported."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

from core.errors import InputError

VARIABLE = "PRUNESCOPE_PLUGINS"

_loaded: set[str] = set()


def load_plugins() -> None:
    """Imports the modules that ``PRUNESCOPE_PLUGINS`` names and that are not imported yet.

    Called at every look-up in a registry, so it reads the variable itself: settings take a millisecond to make. Raises
    InputError, naming the plugin, where one cannot be imported.
    """
    for name in filter(None, map(str.strip, os.environ.get(VARIABLE, "").split(","))):
        if name in _loaded:
            continue
        try:
            if name.endswith(".py"):
                _import_file(Path(name))
            else:
                importlib.import_module(name)
        except (ImportError, OSError, SyntaxError) as error:
            raise InputError(f"plugin = {name!r} cannot be imported: {error}.") from error
        _loaded.add(name)


def _import_file(file: Path) -> None:
    """Imports a file, under a name that stays the same wherever this process stands."""
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
