"""The peers' environments: one virtual environment a peer in the cache folder, made when it is first asked for."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.timing import console
from core.settings import settings

PEERS = ("llmcompressor", "modelopt", "weightwatcher")
_DONE = "finished"


class NotInstalled(Exception):
    """Says which peer cannot be installed, and pip's last line."""


def python_of(peer: str) -> Path:
    """The interpreter of the peer's environment, which is made where it is missing or its requirements have changed."""
    requirements = Path(__file__).with_name(f"{peer}.txt")
    digest = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()[:8]
    folder = settings().cache / "peers" / f"{peer}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / _DONE).is_file():
        console.print(f"Installing {peer} into {folder}")
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        _install(peer, python, requirements)
        (folder / _DONE).touch()
    return python


def _install(peer: str, python: Path, requirements: Path) -> None:
    """Every package is pinned, so nothing is chosen by a resolver, and no peer brings a torch of its own."""
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", str(requirements)]
    found = subprocess.run([str(python), "-m", "pip", *install], capture_output=True, text=True, check=False)
    if found.returncode:
        lines = (found.stderr or found.stdout).strip().splitlines()
        raise NotInstalled(f"{peer} cannot be installed: {lines[-1] if lines else 'pip said nothing'}")
