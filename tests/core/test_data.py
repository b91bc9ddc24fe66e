import bz2
import itertools
import json
import re

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from core.data import Corpus, EmbeddedCorpus, TextFile
from core.data import embedded as embedded_module
from core.data.embedded import articles
from core.data.windows import calibration_windows, evaluation_windows, overlapping_windows, tokenize
from core.errors import InputError, NotFound

NUMBERS = np.arange(1000, dtype=np.int32)


@pytest.mark.parametrize("seed", range(5))
def test_calibration_windows_are_pieces_of_the_text(seed):
    windows = calibration_windows(NUMBERS, 12, 50, seed)
    assert windows.dtype == torch.int64
    assert torch.equal(windows, windows[:, :1] + torch.arange(50))
    assert windows[:, 0].ge(0).all()
    assert windows[:, -1].lt(1000).all()


def test_the_seed_decides_the_calibration_windows():
    first = calibration_windows(NUMBERS, 12, 50, 0)
    assert torch.equal(first, calibration_windows(NUMBERS, 12, 50, 0))
    assert not torch.equal(first, calibration_windows(NUMBERS, 12, 50, 1))
    assert len(set(first[:, 0].tolist())) > 6


def test_more_calibration_windows_begin_with_the_same_ones():
    assert torch.equal(calibration_windows(NUMBERS, 20, 50, 3)[:8], calibration_windows(NUMBERS, 8, 50, 3))


def test_every_place_can_be_drawn_the_last_one_too():
    assert set(calibration_windows(NUMBERS[:52], 200, 50, 0)[:, 0].tolist()) == {0, 1, 2}
    assert torch.equal(calibration_windows(NUMBERS[:50], 2, 50, 0), torch.arange(50).repeat(2, 1))


@pytest.mark.parametrize(
    ("windows", "starts"),
    [
        (None, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]),
        (99, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]),
        (10, [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]),
        (5, [0, 20, 40, 60, 80]),
        (4, [0, 20, 50, 70]),
        (3, [0, 30, 60]),
        (1, [0]),
    ],
)
def test_evaluation_windows_of_a_known_text(windows, starts):
    """103 tokens: ten windows, and three tokens too few for another."""
    found = evaluation_windows(NUMBERS[:103], windows, 10)
    assert found.dtype == torch.int64
    assert found.tolist() == [list(range(start, start + 10)) for start in starts]


@given(st.integers(1, 400), st.integers(1, 40), st.integers(1, 60))
def test_evaluation_windows_are_spread_evenly_without_overlap(length, seqlen, windows):
    assume(length >= seqlen)
    starts = evaluation_windows(NUMBERS[:length], windows, seqlen)[:, 0].tolist()
    assert len(starts) == min(windows, length // seqlen)
    assert all(start % seqlen == 0 for start in starts)
    steps = {(b - a) // seqlen for a, b in itertools.pairwise(starts)}
    assert not steps or (min(steps) >= 1 and max(steps) - min(steps) <= 1)


@pytest.mark.parametrize(
    ("purpose", "cut"),
    [
        ("calibration", lambda tokens: calibration_windows(tokens, 1, 64, 0)),
        ("evaluation", lambda tokens: evaluation_windows(tokens, None, 64)),
    ],
)
def test_a_text_shorter_than_a_window_is_refused(purpose, cut):
    with pytest.raises(InputError) as caught:
        cut(NUMBERS[:63])
    assert str(caught.value) == (
        f"{purpose}.seqlen = 64 is longer than the {purpose} text, which has 63 tokens; "
        "choose shorter windows or a longer text."
    )
    assert len(cut(NUMBERS[:64])) == 1


def test_overlap_is_32_consecutive_tokens():
    calibration = torch.arange(100, 200).reshape(1, 100)
    evaluation = torch.stack(
        [
            torch.arange(68, 132),  # ends with 32 of them
            torch.arange(67, 131),  # 31
            torch.arange(150, 214),  # begins with 50
            torch.arange(169, 233),  # 31
            torch.arange(500, 564),
            torch.arange(100, 228, 2),  # the same tokens, not in a row
        ]
    )
    assert overlapping_windows(calibration, evaluation) == 2
    assert overlapping_windows(calibration, evaluation[[1, 3, 4, 5]]) == 0


def test_overlap_is_counted_once_a_window():
    calibration = torch.arange(0, 300).reshape(3, 100)
    assert overlapping_windows(calibration, torch.arange(0, 200).reshape(2, 100)) == 2
    assert overlapping_windows(calibration, torch.arange(0, 200).reshape(1, 200)) == 1


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"caf\xe9 au lait", "is not UTF-8 (byte 3 cannot be read); convert it to UTF-8."),
        (b"", "is empty; give a file with text."),
        (b" \n\t\n", "is empty; give a file with text."),
        (None, "is not a file; give the path of a text file."),
    ],
)
def test_a_text_file_that_cannot_be_used_says_why(tmp_path, content, sentence):
    path = tmp_path / "some text.txt"
    if content is not None:
        path.write_bytes(content)
    corpus = TextFile(path=str(path))
    for read in (corpus.fingerprint, corpus.text):
        with pytest.raises(InputError) as caught:
            read("evaluation")
        assert str(caught.value) == f"text = {str(path)!r} {sentence}"
        assert isinstance(caught.value, NotFound) == (content is None)


@pytest.mark.parametrize("path", ["", "/"])
def test_no_path_and_a_folder_are_no_text(path):
    with pytest.raises(NotFound, match=f"^text = '{path}' is not a file"):
        TextFile(path=path).text("calibration")


def test_a_text_file_is_all_of_it_for_either_purpose(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("Où est le chat ?\nIci.\n", encoding="utf-8")
    corpus = TextFile(path=str(path))
    assert corpus.text("calibration") == corpus.text("evaluation") == "Où est le chat ?\nIci.\n"
    assert corpus.label("calibration") == "text.txt"
    before = corpus.fingerprint("calibration")
    path.write_text("Où est le chien ?\nIci.\n", encoding="utf-8")
    assert corpus.fingerprint("calibration") != before


class TestTokens:
    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("PRUNESCOPE_CACHE", str(tmp_path / "cache"))
        return tmp_path / "cache"

    @pytest.fixture
    def corpus(self, tmp_path):
        path = tmp_path / "text.txt"
        path.write_text("a b c a", encoding="utf-8")
        return TextFile(path=str(path))

    @staticmethod
    def tokenizer(*words: str) -> PreTrainedTokenizerFast:
        """Word by word; begins every text with a special token unless told otherwise."""
        model = Tokenizer(WordLevel({"<s>": 0, "?": 1} | {word: i + 2 for i, word in enumerate(words)}, unk_token="?"))
        model.pre_tokenizer = Whitespace()
        model.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
        return PreTrainedTokenizerFast(tokenizer_object=model)

    def test_the_text_without_special_tokens(self, corpus):
        assert self.tokenizer("a")("a b")["input_ids"] == [0, 2, 1]
        tokens = tokenize(corpus, "evaluation", self.tokenizer("a", "b", "c"))
        assert (tokens.tolist(), tokens.dtype) == ([2, 3, 4, 2], np.int32)

    def test_kept_on_disk_by_text_purpose_and_vocabulary(self, corpus, cache, monkeypatch):
        first, second = self.tokenizer("a", "b", "c"), self.tokenizer("c", "b", "a")
        assert tokenize(corpus, "evaluation", first).tolist() == [2, 3, 4, 2]
        assert tokenize(corpus, "evaluation", second).tolist() == [4, 3, 2, 4]
        tokenize(corpus, "calibration", first)
        assert len(list((cache / "tokens").glob("*.npy"))) == 3
        monkeypatch.setattr(TextFile, "text", lambda self, purpose: pytest.fail("read again"))
        assert tokenize(corpus, "evaluation", first).tolist() == [2, 3, 4, 2]

    def test_a_changed_text_is_read_again(self, corpus, tmp_path):
        tokenizer = self.tokenizer("a", "b", "c")
        tokenize(corpus, "evaluation", tokenizer)
        (tmp_path / "text.txt").write_text("c c", encoding="utf-8")
        assert tokenize(corpus, "evaluation", tokenizer).tolist() == [4, 4]

    def test_two_processes_may_do_the_same_at_once(self, corpus, monkeypatch):
        """The other one, here called between the first one's saving and renaming, must not take its file away."""
        tokenizer, save, others = self.tokenizer("a", "b", "c"), np.save, []

        def interrupted(file, array):
            save(file, array)
            if not others:
                others.append(None)
                others[0] = tokenize(corpus, "evaluation", tokenizer)

        monkeypatch.setattr(np, "save", interrupted)
        assert tokenize(corpus, "evaluation", tokenizer).tolist() == [2, 3, 4, 2]
        assert others[0].tolist() == [2, 3, 4, 2]


PARTS = ("train", "valid", "test")


def test_the_embedded_corpus_is_106_articles_in_disjoint_parts():
    parts = {part: articles(part) for part in PARTS}
    assert {part: len(texts) for part, texts in parts.items()} == {"train": 80, "valid": 13, "test": 13}
    assert len({text for texts in parts.values() for text in texts}) == 106
    assert all(len(text.split()) > 50 for texts in parts.values() for text in texts)


def test_the_embedded_corpus_calibrates_and_evaluates_on_different_articles():
    calibration, evaluation = EmbeddedCorpus().text("calibration"), EmbeddedCorpus().text("evaluation")
    assert calibration == "\n\n".join(articles("train"))
    assert evaluation == "\n\n".join(articles("test"))
    assert not any(text in calibration for part in ("valid", "test") for text in articles(part))


def test_no_wiki_markup_is_left_in_the_embedded_corpus():
    marks = ["[[", "]]", "{{", "}}", "<ref", "</ref", "{|", "|}", "thumb|", "&nbsp;"]
    texts = [text for part in PARTS for text in articles(part)]
    assert {mark: [text[:25] for text in texts if mark in text] for mark in marks} == {mark: [] for mark in marks}


def test_the_embedded_corpus_is_whole_sentences():
    text = EmbeddedCorpus().text("evaluation")
    assert len(text) > 100_000
    assert not re.search(r"\n{3}", text)
    assert not re.search(r"[^\S\n]{2}", text)


def test_the_fingerprint_names_package_and_cleaning():
    assert re.fullmatch(r"gensim [\d.]+, cleaning \d+", EmbeddedCorpus().fingerprint("evaluation"))


WIKITEXT = """{{Infobox|name={{nested|x}}}}
'''Anarchism''' is a [[political philosophy|philosophy]] of [[state]]s.<ref name="a">{{cite|Ward}}</ref>

[[File:x.jpg|thumb|A [[link]] inside]]
{| class="wikitable"
| cell
|}
== History ==
It began<ref>B</ref> with   ''words''&nbsp;and [http://example.org a page].
[[Category:Politics]]
[[de:Anarchismus]]
"""


def dump_of(pages: list[tuple[str, str, bool]]) -> bytes:
    """A MediaWiki dump of (namespace, wikitext, redirect?)."""
    body = "".join(
        f"<page><title>T</title><ns>{ns}</ns>{'<redirect />' * redirect}<revision><text>{text}</text></revision></page>"
        for ns, text, redirect in pages
    )
    return bz2.compress(f'<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/">{body}</mediawiki>'.encode())


def test_an_article_is_cleaned_of_its_markup():
    assert embedded_module._plain(WIKITEXT).split("\n") == [
        "Anarchism is a philosophy of states.",
        "",
        "History",
        "It began with words and a page.",
    ]


def test_quotes_that_do_not_match_hide_no_markup():
    """As in the articles on Lincoln and Agassi."""
    source = "Said so.<ref>Nevins, Ordeal'' (1959)</ref> Then [[William Sherman|Sherman]] came, ''slowly''."
    assert embedded_module._plain(source) == "Said so. Then Sherman came, slowly."


def test_only_articles_are_taken_from_the_dump_and_cleaned_once(tmp_path, monkeypatch):
    file = tmp_path / "enwiki-latest-pages-articles1.xml.bz2"
    file.write_bytes(
        dump_of([("0", "One", False), ("0", "#REDIRECT", True), ("10", "Template", False), ("0", "Two", False)])
    )

    class Package:
        version = "0"
        files = [file]  # noqa: RUF012

        def locate_file(self, file):
            return file

    monkeypatch.setenv("PRUNESCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(embedded_module, "_package", Package)
    assert articles("train") == ["One", "Two"]
    (cached,) = (tmp_path / "cache" / "corpora").glob("*.json")
    cached.write_text(json.dumps(["from the cache"]))
    assert articles("train") == ["from the cache"]


@pytest.mark.parametrize("name", sorted(Corpus.registry))
def test_every_corpus_has_a_title_and_a_label(name):
    corpus = Corpus.registry[name]()
    assert corpus.title
    assert isinstance(corpus.label("evaluation"), str)
