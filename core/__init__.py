"""PruneScope's core: everything that computes.

The names below are imported when they are first used, so that ``import core`` costs nothing.
"""

from importlib import import_module
from typing import Any

_PUBLIC = {
    "prune": "core.api",
    "run_config": "core.api",
    "reopen": "core.reopening",
    "export_run": "core.api",
    "prune_model": "core.engine",
    "RunConfig": "core.config",
    "Calibration": "core.config",
    "Evaluation": "core.config",
    "Sweep": "core.sweeps",
    "Axis": "core.sweeps",
    "accelerate": "core.acceleration",
    "InputError": "core.errors",
    "Reference": "core.reference",
    "Store": "core.store",
    "Method": "core.methods",
    "ScoreMethod": "core.methods",
    "Pruned": "core.methods",
    "Magnitude": "core.methods.magnitude",
    "Wanda": "core.methods.wanda",
    "WandaVariant": "core.methods.wanda_variant",
    "SparseGPT": "core.methods.sparsegpt",
    "ADMM": "core.methods.admm",
    "RI": "core.methods.ria",
    "RIA": "core.methods.ria",
    "ClearCut": "core.methods.clearcut",
    "Stage": "core.stages",
    "Reallocation": "core.stages.reallocation",
    "Reconstruction": "core.stages.reconstruction",
    "Barber": "core.stages.barber",
    "DSnoT": "core.stages.dsnot",
    "ADMMUpdate": "core.stages.admm",
    "Tuning": "core.stages.tuning",
    "LowRank": "core.stages.low_rank",
    "Pattern": "core.patterns",
    "Unstructured": "core.patterns",
    "NM": "core.patterns",
    "Allocation": "core.allocation",
    "Uniform": "core.allocation",
    "Statistic": "core.statistics",
    "InputStatistics": "core.statistics",
    "Corpus": "core.data",
    "EmbeddedCorpus": "core.data",
    "TextFile": "core.data",
    "DocumentFile": "core.data",
    "PastedText": "core.data",
    "WikiText2": "core.data",
    "C4": "core.data",
    "PTB": "core.data",
    "Embedded": "core.models.sources",
    "Hub": "core.models.sources",
    "LocalFolder": "core.models.sources",
}
__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'core' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return __all__
