"""What evaluation adds to the bare forwards (head included) of the same windows: ``python -m benchmarks.evaluation``.

On the embedded model, with the default batch and window: alternating, every logit of the windows made and dropped; then the
losses of all tokens.
"""

from __future__ import annotations

import torch

from benchmarks.timing import compare
from core.config import Evaluation
from core.evaluation.perplexity import token_losses
from core.models.sources import Embedded
from core.models.structure import text_config

WINDOWS = 8
LIMIT = 1.2


def main() -> None:
    model, evaluation = Embedded().load().model, Evaluation()
    shape, generator = (WINDOWS, evaluation.seqlen), torch.Generator().manual_seed(0)
    windows = torch.randint(text_config(model.config).vocab_size, shape, generator=generator)

    def forwards() -> None:
        for batch in windows.split(evaluation.batch_size):
            model(input_ids=batch, use_cache=False)

    def losses() -> None:
        for _ in token_losses(model, windows, evaluation.batch_size):
            pass

    what = f"{WINDOWS} windows of {evaluation.seqlen} tokens, {evaluation.batch_size} at a time"
    compare(what, ("forwards alone", "with the losses"), forwards, losses, LIMIT)


if __name__ == "__main__":
    main()
