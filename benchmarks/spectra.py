"""What fits and metrics add to the eigenvalues: ``python -m benchmarks.spectra``, for every module of the embedded model.

Alternating: all eigenvalues alone; then all eigenvalues, and from those of each module the figures (tail, bulk and all
metrics) of every fit. Several modules at a time, as the measurement does it.
"""

from __future__ import annotations

from collections import deque

import torch

from benchmarks.timing import compare
from core.models.sources import Embedded
from core.models.structure import decoder_blocks, read_weight
from core.parallel import each_on_one_thread
from core.spectra.esd import eigenvalues
from core.spectra.table import all_figures

LIMIT = 1.3


def main() -> None:
    model = Embedded().load().model
    weights = [read_weight(module).float() for block in decoder_blocks(model) for module in block.modules.values()]

    def figures(weight: torch.Tensor) -> None:
        all_figures(eigenvalues(weight), weight.shape[0], weight.shape[1])

    def alone() -> None:
        deque(each_on_one_thread(eigenvalues, weights), maxlen=0)

    def everything() -> None:
        deque(each_on_one_thread(figures, weights), maxlen=0)

    names = ("eigenvalues alone", "with all fits and metrics")
    compare(f"{len(weights)} modules", names, alone, everything, LIMIT)


if __name__ == "__main__":
    main()
