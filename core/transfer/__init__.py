"""Runs as one file, to take them to another machine: JSON, safetensors and parquet in a zip; nothing in it is executed."""

from core.transfer.content import SUFFIX
from core.transfer.importing import Imported, import_runs
from core.transfer.writing import export_runs, export_size

__all__ = ["SUFFIX", "Imported", "export_runs", "export_size", "import_runs"]
