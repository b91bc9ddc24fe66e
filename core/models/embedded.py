"""The embedded model: converted once from the package's GGUF file to safetensors, which load in a fraction of a second."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tempfile
from importlib.metadata import distribution
from pathlib import Path

from filelock import FileLock

from core.disk import writing
from core.models.sources import EMBEDDED_PACKAGE
from core.settings import settings

log = logging.getLogger(__name__)


def converted(revision: str) -> Path:
    """Where the converted model is kept, whether it is there yet or not."""
    return settings().cache / "embedded" / hashlib.sha256(revision.encode()).hexdigest()[:16]


def converted_folder(revision: str) -> Path:
    """The folder with the converted model for ``revision``; made on first use (about half a minute)."""
    folder = converted(revision)
    if folder.is_dir():
        return folder
    with writing(folder, "PRUNESCOPE_CACHE"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                log.info("Converting the embedded model once, to %s", folder)
                unfinished = Path(tempfile.mkdtemp(dir=folder.parent))
                try:
                    _convert(_gguf_file(), unfinished)
                    unfinished.rename(folder)
                finally:
                    shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def _gguf_file() -> Path:
    package = distribution(EMBEDDED_PACKAGE)
    file = next(file for file in package.files or [] if file.suffix == ".gguf")
    return Path(str(package.locate_file(file)))


def _convert(gguf: Path, target: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    # Its weights are plain float32 now; the mark of the quantised origin would forbid saving them.
    model.hf_quantizer = None  # type: ignore[assignment]
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).save_pretrained(target)
