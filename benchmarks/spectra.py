"""What fits and metrics add to the eigenvalues: ``python -m benchmarks.spectra``, for every module of the embedded model.

Alternating: all eigenvalues alone; then all eigenvalues, and from those of each module the figures (tail, bulk and all
metrics) of every fit.
"""

from __future__ import annotations

from benchmarks.timing import compare
from core.models.sources import Embedded
from core.models.structure import decoder_blocks, read_weight
from core.spectra.esd import eigenvalues
from core.spectra.table import all_figures

LIMIT = 1.3


def main() -> None:
    model = Embedded().load().model
    weights = [read_weight(module).float() for block in decoder_blocks(model) for module in block.modules.values()]

    def alone() -> None:
        for weight in weights:
            eigenvalues(weight)

    def everything() -> None:
        for weight in weights:
            values = eigenvalues(weight)
            all_figures(values, weight.shape[0], weight.shape[1])

    names = ("eigenvalues alone", "with all fits and metrics")
    compare(f"{len(weights)} modules", names, alone, everything, LIMIT)


if __name__ == "__main__":
    main()
