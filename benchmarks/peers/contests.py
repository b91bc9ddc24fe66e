"""What is done by whom: the same work by PruneScope and by its peers, and how much faster PruneScope should be."""

from __future__ import annotations

from dataclasses import dataclass

OURS = "PruneScope"

NAMES = {"llmcompressor": "llm-compressor", "modelopt": "ModelOpt", "weightwatcher": "WeightWatcher"}


@dataclass(frozen=True)
class Contest:
    """``work``: as drivers understand it; ``wanted``: how many times faster than each peer."""

    title: str
    work: str
    peers: tuple[str, ...]
    wanted: float
    prunes: bool = True


CONTESTS = {
    contest.work: contest
    for contest in (
        Contest("Wanda 50 %", "wanda 50%", ("llmcompressor",), 1.5),
        Contest("Wanda 2:4", "wanda 2:4", ("llmcompressor",), 1.5),
        Contest("SparseGPT 50 %", "sparsegpt 50%", ("llmcompressor",), 2.5),
        Contest("SparseGPT 2:4", "sparsegpt 2:4", ("llmcompressor", "modelopt"), 2.5),
        Contest("Magnitude 50 %", "magnitude 50%", ("llmcompressor",), 1.0),
        Contest("Magnitude 2:4", "magnitude 2:4", ("modelopt",), 1.0),
        Contest("Spectra", "spectra", ("weightwatcher",), 2.5, prunes=False),
        Contest("Spectra, MP fit and randomised", "spectra mp+random", ("weightwatcher",), 20.0, prunes=False),
    )
}

NOTES = """- All programs load the same folder (float32) and read the same calibration tokens, four windows at a time, two
  threads; each run is a process of its own, in turns. Seconds are those of the pruning or analysis alone,
  without import, loading and saving, and of a first call: nobody is warmed up.
- *Times faster* is the median over rounds of the peer's seconds by ours in the same round. Perplexity is ours,
  of the weights that each program left, on the same windows; *difference* is that of the mean losses (the
  peer's less ours, in nats, so above zero where ours is better) with its standard error over the windows.
- llm-compressor's magnitude modifier does nothing in `oneshot` (its masks are applied when a training step
  ends), so its session is given the events of one step.
- ModelOpt prunes to 2:4 only, and has no Wanda. Its SparseGPT reads the inputs of all modules from the dense
  model in one pass (one forward in the place of two) and keeps only the mask, not the updated weights, which
  its perplexity shows; our forward loop spares it the head.
- The peers have no RIA, ClearCut, LLM-Barber or channel reallocation.
- WeightWatcher is given the decoder blocks, so that it analyses the same matrices. Ours is what the Spectra
  page measures: all three tail fits, all metrics and the Marchenko–Pastur bulk in any case, written to the
  store; WeightWatcher's default makes one fit and no bulk, and its fast eigenvalues need a GPU.
- The embedded model's weights were quantised to 8 bits, so many magnitudes in a group of four are equal: programs
  differ in which of them they keep, and magnitude alone then leaves models of different perplexity."""
