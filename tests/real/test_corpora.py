"""Real texts through the corpora's own code, with the embedded model's tokenizer."""

from pathlib import Path

import pytest

from core.data import WikiText2
from core.data.windows import tokenize, windows_to_evaluate_on
from core.models.sources import Embedded

TEST = Path(__file__).parents[3] / "shared" / "data" / "wikitext2-raw-test.jsonl"
pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not TEST.is_file(), reason=f"WikiText-2's test split is not at {TEST}"),
]


def test_wikitext2_is_complete(tmp_path, monkeypatch):
    """4,358 rows, the empty ones too; the number of tokens was counted by other programs."""
    (tmp_path / "wikitext2").mkdir()
    (tmp_path / "wikitext2" / "test.jsonl").symlink_to(TEST)
    monkeypatch.setenv("PRUNESCOPE_CORPORA", str(tmp_path))
    tokenizer = Embedded().load_tokenizer()  # from the user's cache, where the converted model is
    monkeypatch.setenv("PRUNESCOPE_CACHE", str(tmp_path / "cache"))
    corpus = WikiText2()
    assert corpus.label("evaluation") == "WikiText-2 (test, local copy)"
    assert len(corpus.documents("evaluation")) == 4358
    assert len(tokenize(corpus, "evaluation", tokenizer)) == 304_986
    assert windows_to_evaluate_on(corpus, tokenizer, None, 2048).shape == (148, 2048)
