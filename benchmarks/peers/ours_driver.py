"""PruneScope itself, from the same folder and tokens: a run's pruning with all its events, and what the Spectra page measures."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.peers.driver import Answer, Job, answer, answer_pruned, batches, load, measured, versions
from core.config import RunConfig
from core.engine import prune_model
from core.measurements.spectra import Spectra
from core.models.sources import LoadedModel, LocalFolder
from core.settings import Settings
from core.store import Store

PATTERNS: dict[str, dict[str, Any]] = {"50%": {"sparsity": 0.5}, "2:4": {"pattern": {"pattern": "nm"}}}


def main() -> None:
    job = Job.given()
    model = load(job)
    if job.work.startswith("spectra"):
        _spectra(job, model)
        return
    method, pattern = job.work.split()
    config = RunConfig.model_validate({"method": {"method": method}, **PATTERNS[pattern]})
    config = config.model_copy(
        update={"calibration": config.calibration.model_copy(update={"batch_size": job.batch_size})}
    )
    tokens = torch.cat(batches(job))

    def work() -> None:
        for _ in prune_model(model, config, tokens):
            pass

    _, seconds, peak = measured(job, work)
    answer_pruned(job, model, seconds, peak, [])


def _spectra(job: Job, model: Any) -> None:
    """All fits and metrics, with the Marchenko–Pastur bulk; ``mp+random`` does the same of the shuffled matrices besides."""
    source = LocalFolder(path=job.model)
    plain = Spectra.of_dense(source)
    wanted = [plain, plain.shuffled] if job.work.endswith("random") else [plain]
    loaded = LoadedModel(model, source.load_tokenizer())
    with TemporaryDirectory() as folder:
        store = Store.open(Settings(home=Path(folder), database=None))
        for spectra in wanted:  # the store keeps what it knows to be under way
            store.submit_measurement(spectra)

        def work() -> None:
            for spectra in wanted:
                for _ in spectra.steps(store, lambda _: loaded):
                    pass

        _, seconds, peak = measured(job, work)
        matrices = len(plain.table(store, "peak"))
        store.close()
    answer(job, Answer(seconds, peak, versions([]), matrices=matrices))


if __name__ == "__main__":
    main()
