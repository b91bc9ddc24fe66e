"""The embedded model on WikiText-2, and what it writes."""

import json
import math
from pathlib import Path

import pytest
import torch

from core.api import measure_now
from core.config import Evaluation, fingerprints
from core.data import TextFile
from core.evaluation.generation import Generation, continuation, prompt_tokens
from core.measurements.perplexity import PerplexityOn
from core.models.sources import Embedded
from core.store import Store

pytestmark = pytest.mark.real

WIKITEXT = Path(__file__).parents[3] / "shared" / "data" / "wikitext2-raw-test.jsonl"


@pytest.fixture(scope="module")
def loaded():
    return Embedded().load()


@pytest.mark.skipif(not WIKITEXT.is_file(), reason=f"WikiText-2 is not at {WIKITEXT}")
def test_forty_windows_of_wikitext_equal_a_plain_loop(loaded, tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNESCOPE_HOME", str(tmp_path / "home"))
    rows = [json.loads(line)["text"] for line in WIKITEXT.read_text(encoding="utf-8").splitlines()]
    text = tmp_path / "wikitext2.txt"
    text.write_text("\n\n".join(rows), encoding="utf-8")
    evaluation, store = Evaluation(corpus=TextFile(path=str(text)), seqlen=128), Store.open()
    model, texts = Embedded(), fingerprints(evaluation)
    measured = PerplexityOn(model=model, revision=model.revision_key(), evaluation=evaluation, fingerprints=texts)
    measure_now(measured, store)
    (found,), (kept,) = measured.found(store), measured.token_losses(store)

    tokens = loaded.tokenizer("\n\n".join(rows), add_special_tokens=False, verbose=False)["input_ids"]
    every = [tokens[start : start + 128] for start in range(0, len(tokens) - 127, 128)]
    chosen = [every[number * len(every) // 40] for number in range(40)]
    assert kept.tokens.tolist() == chosen
    losses = []
    with torch.no_grad():
        for window in chosen:
            logs = loaded.model(input_ids=torch.tensor([window])).logits[0].double().log_softmax(-1)
            losses.append(-sum(logs[at, window[at + 1]].item() for at in range(127)) / 127)
    expected = math.exp(sum(losses) / len(losses))
    print(f"{len(tokens):,} tokens; 40 × 128: {found.value:.4f}, by the plain loop {expected:.4f}")
    assert found.value == pytest.approx(expected, rel=1e-5)


def test_it_answers_as_transformers_lets_it(loaded):
    wanted = Generation(prompt="What is the capital of France?", chat=True, max_new_tokens=12)
    prompt = prompt_tokens(wanted, loaded.tokenizer, loaded.model.config.max_position_embeddings)
    tokens = loaded.model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=12, do_sample=False)
    written = "".join(continuation(wanted, prompt, loaded.model, loaded.tokenizer))
    assert written == loaded.tokenizer.decode(tokens[0, len(prompt) :], skip_special_tokens=True)
    assert "Paris" in written
