"""Pruning methods: one class a file; every file of this folder is found by itself."""

from core.discovery import import_all
from core.methods.base import AnyMethod, Method, Pruned, ScoreMethod

import_all(__name__, __path__)

__all__ = ["AnyMethod", "Method", "Pruned", "ScoreMethod"]
