"""What fits and metrics add to the eigenvalues: ``python -m benchmarks.spectra``, for every module of the embedded model.

Alternating, so that a busy machine slows both alike: all eigenvalues alone; then all eigenvalues, and from those of each
module the figures (tail, bulk and all metrics) of every fit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from statistics import median
from time import perf_counter

import torch
from rich.console import Console

from core.models.sources import Embedded
from core.models.structure import decoder_blocks, read_weight
from core.spectra.esd import eigenvalues
from core.spectra.table import all_figures

ROUNDS = 5
LIMIT = 1.3
console = Console(highlight=False)


def main() -> None:
    model = Embedded().load().model
    weights = [read_weight(module).float() for block in decoder_blocks(model) for module in block.modules.values()]
    console.print(f"{len(weights)} modules, {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.2f}")
    everything(weights)  # reads the weights from disk, imports scipy, warms up
    rounds = [(seconds(alone, weights), seconds(everything, weights)) for _ in range(ROUNDS)]
    show("eigenvalues alone, s", [first for first, _ in rounds])
    show("with all fits and metrics, s", [both for _, both in rounds])
    ratio = show("ratio", [both / first for first, both in rounds])
    console.print(f"the ratio is {'within' if ratio <= LIMIT else 'above'} its limit of {LIMIT}")


def alone(weights: list[torch.Tensor]) -> None:
    for weight in weights:
        eigenvalues(weight)


def everything(weights: list[torch.Tensor]) -> None:
    for weight in weights:
        values = eigenvalues(weight)
        all_figures(values, weight.shape[0], weight.shape[1])


def seconds(run: Callable[[list[torch.Tensor]], None], weights: list[torch.Tensor]) -> float:
    begin = perf_counter()
    with torch.no_grad():
        run(weights)
    return perf_counter() - begin


def show(name: str, found: list[float]) -> float:
    """Prints the median, smallest and largest, and gives the median."""
    middle = median(found)
    console.print(f"{name:>30}: {middle:6.3f}  (from {min(found):.3f} to {max(found):.3f} in {len(found)} rounds)")
    return middle


if __name__ == "__main__":
    main()
