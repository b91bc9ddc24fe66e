"""Where results are written down: a section a command in one Markdown file, beside the machine they were found on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import psutil
import torch


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_section(file: Path, name: str, text: str) -> None:
    """Puts ``text`` in the place of what ``file`` holds between the marks of the section ``name``, or at its end."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    known = file.read_text(encoding="utf-8") if file.is_file() else "# Performance\n"
    marked = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    there = marked.search(known)
    text = marked.sub(lambda _: section, known) if there else f"{known.rstrip()}\n\n{section}\n"
    file.write_text(text, encoding="utf-8")


CPU = "Processor seconds of one thread, since the machine was busy with other work."


@dataclass(frozen=True)
class Wish:
    """How a command shall measure, and where its tables go."""

    rounds: int
    cpu: bool
    out: Path | None

    def write(self, name: str, text: str, after: str = "") -> None:
        """A section with the machine below it."""
        if self.out:
            note = f"{CPU} " if self.cpu else ""
            write_section(self.out, name, f"{text}\n\n{note}{machine()}.{after}")


def machine() -> str:
    """Processor, cores, memory, versions, commit and date, in one line."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{_processor()}, {os.cpu_count()} cores ({torch.get_num_threads()} threads), {memory:.0f} GiB; {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {version('transformers')}; "
        f"commit {_commit()}, {date.today().isoformat()}"
    )


def _processor() -> str:
    """The model's name with what matters for matrix products."""
    known = Path("/proc/cpuinfo")
    if not known.is_file():
        return platform.processor() or platform.machine()
    text = known.read_text()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    features = [name for name in ("avx512_vnni", "avx512_bf16", "amx_bf16") if re.search(rf"\b{name}\b", text)]
    wide = features or [name for name in ("avx512f", "avx2") if re.search(rf"\b{name}\b", text)][:1]
    return " ".join([found.group(1) if found else platform.machine(), f"({', '.join(wide)})" if wide else ""]).strip()


def _commit() -> str:
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude", "*"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    )
    return found.stdout.strip() or "unknown"
