"""NVIDIA ModelOpt's weight sparsity, which is 2:4 only: ``sparse_magnitude`` and ``sparsegpt``.

Its SparseGPT reads all inputs from the dense model in one pass and takes over the mask alone, not the updated weights. The
forward over the calibration text is the caller's: it runs the decoder without the head, which nothing reads.
"""

from __future__ import annotations

from typing import Any

import modelopt.torch.sparsity as sparsity
import torch

from benchmarks.peers.driver import Job, answer_pruned, batches, load, measured

MODES = {"magnitude 2:4": "sparse_magnitude", "sparsegpt 2:4": "sparsegpt"}


def main() -> None:
    job = Job.given()
    model, tokens = load(job), batches(job)

    def forward(whole: Any) -> None:
        with torch.no_grad():
            for batch in tokens:
                whole.model(input_ids=batch, use_cache=False)

    config = {"forward_loop": forward} if job.work.startswith("sparsegpt") else {}

    def work() -> Any:
        return sparsity.export(sparsity.sparsify(model, MODES[job.work], config=config))

    pruned, seconds, peak = measured(job, work)
    answer_pruned(job, pruned, seconds, peak, ["nvidia-modelopt"])


if __name__ == "__main__":
    main()
