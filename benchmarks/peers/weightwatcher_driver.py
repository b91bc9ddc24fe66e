"""WeightWatcher's analysis of the decoder blocks' matrices (not the embedding), as it is by default or with more."""

from __future__ import annotations

import weightwatcher

from benchmarks.peers.driver import Answer, Job, answer, load, measured, versions

OPTIONS = {"spectra": {}, "spectra mp+random": {"mp_fit": True, "randomize": True}}


def main() -> None:
    job = Job.given()
    watcher = weightwatcher.WeightWatcher(model=load(job).model.layers)
    details, seconds, peak = measured(job, lambda: watcher.analyze(**OPTIONS[job.work]))
    packages = ["weightwatcher", "powerlaw", "numpy", "scipy"]
    answer(job, Answer(seconds, peak, versions(packages), matrices=len(details)))


if __name__ == "__main__":
    main()
