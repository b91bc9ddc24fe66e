"""Corpora out of files: documents, local copies of the hub's corpora, and windows that stay within a document."""

import gzip
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import constants
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast

from core.config import Calibration, Evaluation, RunConfig, identify, pinned_texts
from core.data import C4, PTB, Corpus, DocumentFile, EmbeddedCorpus, PastedText, TextFile, WikiText2
from core.data.windows import (
    calibration_windows,
    document_windows,
    overlapping_windows,
    tokenize,
    windows_to_calibrate_on,
    windows_to_evaluate_on,
)
from core.errors import InputError, NotFound

ROWS = ["", " = A title = \n", "", " One row .\n", " Ünd noch eine .\n"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PRUNESCOPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


@pytest.fixture
def copies(tmp_path, monkeypatch) -> Path:
    """The folder of local copies."""
    folder = tmp_path / "copies"
    folder.mkdir()
    monkeypatch.setenv("PRUNESCOPE_CORPORA", str(folder))
    return folder


def write(file: Path, rows: list, field: str = "text") -> Path:
    """``rows`` as the documents of a file, in the format its name says."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".parquet":
        pd.DataFrame({"id": range(len(rows)), field: rows}).to_parquet(file)
        return file
    lines = "".join(json.dumps({"id": i, field: row}) + "\n" for i, row in enumerate(rows)).encode()
    file.write_bytes(gzip.compress(lines) if file.suffix == ".gz" else lines)
    return file


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    """A token a word; the words are numbers."""
    model = Tokenizer(WordLevel({str(number): number for number in range(20_000)}, unk_token="0"))
    model.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=model)


def words(*numbers: int) -> str:
    return " ".join(map(str, numbers))


class TestDocumentFile:
    @pytest.mark.parametrize("suffix", [".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet"])
    def test_every_row_joined_by_blank_lines(self, tmp_path, suffix):
        corpus = Corpus.coerce(str(write(tmp_path / f"mine{suffix}", ROWS)))
        assert isinstance(corpus, DocumentFile)
        assert corpus.documents("calibration") == ROWS
        assert corpus.text("evaluation") == "\n\n".join(ROWS)
        assert corpus.label("evaluation") == f"mine{suffix}"

    def test_another_field(self, tmp_path):
        for suffix in (".jsonl", ".parquet"):
            corpus = DocumentFile(path=str(write(tmp_path / f"mine{suffix}", ROWS, "sentence")), field="sentence")
            assert corpus.documents("evaluation") == ROWS

    def test_a_byte_order_mark_and_empty_lines_do_not_matter(self, tmp_path):
        file = tmp_path / "mine.jsonl"
        file.write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n{"text": "b"}')
        assert DocumentFile(path=str(file)).documents("calibration") == ["a", "b"]

    @pytest.mark.parametrize(
        ("name", "content", "sentence"),
        [
            ("a.jsonl", None, " is not a file; give the path of a JSON lines or parquet file."),
            ("a.jsonl", b"", " is empty; give a file with text."),
            ("a.jsonl", b'{"text": ""}\n{"text": " "}', " is empty; give a file with text."),
            ("a.jsonl", b'{"words": "a", "id": 1}', ", line 1, has no field 'text'; its fields are words, id."),
            ("a.jsonl", b'\n{"text": "a"}\n{}', ", line 3, has no field 'text'; its fields are none."),
            ("a.jsonl", b'{"text": 7}', " has no text in the field 'text' of line 1, but 7; choose another."),
            ("a.jsonl", b'{"text": null}', " has no text in the field 'text' of line 1, but None; choose another."),
            (
                "a.jsonl",
                b'{"text": "caf\xe9"}',
                " is not UTF-8 (byte 13 of line 1 cannot be read); convert it to UTF-8.",
            ),
            ("a.jsonl", b"Plain words.", " has no JSON object in line 1; every line must be one, with a field 'text'."),
            ("a.json", b"[\n", " has no JSON object in line 1; every line must be one, with a field 'text'."),
            ("a.jsonl.gz", b'{"text": "a"}', " is not a whole gzip file"),
            ("a.jsonl.gz", gzip.compress(b'{"text": "a"}', mtime=0)[:-9], " is not a whole gzip file"),
            ("a.parquet", b"PAR1 or not", " cannot be read as parquet"),
        ],
    )
    def test_what_is_wrong_is_one_sentence(self, tmp_path, name, content, sentence):
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        corpus = DocumentFile(path=str(file))
        with pytest.raises(InputError) as caught:
            corpus.text("evaluation")
        message = str(caught.value)
        assert message.startswith(f"documents = {str(file)!r}{sentence}")
        assert message.endswith(".")
        assert "\n" not in message
        assert isinstance(caught.value, NotFound) == (content is None)

    @pytest.mark.parametrize(
        ("frame", "sentence"),
        [
            ({"words": ["a"]}, " has no field 'text'; its fields are words."),
            ({"text": [7]}, " has no text in the field 'text' of row 1, but 7; choose another."),
            ({"text": ["a", None]}, " has no text in the field 'text' of row 2, but None; choose another."),
            ({"text": []}, " is empty; give a file with text."),
        ],
    )
    def test_what_is_wrong_in_a_parquet_file_is_one_sentence(self, tmp_path, frame, sentence):
        file = tmp_path / "a.parquet"
        pd.DataFrame(frame).to_parquet(file)
        with pytest.raises(InputError) as caught:
            DocumentFile(path=str(file)).text("evaluation")
        assert str(caught.value) == f"documents = {str(file)!r}{sentence}"

    def test_a_missing_field_is_found_when_the_config_is_looked_up(self, tmp_path):
        corpus = DocumentFile(path=str(write(tmp_path / "a.jsonl", ROWS, "words")))
        with pytest.raises(InputError, match="line 1, has no field 'text'; its fields are id, words"):
            identify(RunConfig(evaluation=Evaluation(corpus=corpus)))

    def test_the_fingerprint_is_the_contents_wherever_it_lies_and_read_once(self, tmp_path, monkeypatch):
        one, other = (write(tmp_path / folder / "a.jsonl", ROWS) for folder in ("one", "other"))
        corpus = DocumentFile(path=str(one))
        known = corpus.fingerprint("evaluation")
        assert known == DocumentFile(path=str(other)).fingerprint("calibration")
        monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("read again"))
        assert corpus.fingerprint("evaluation") == known
        monkeypatch.undo()
        write(one, [*ROWS, "more"])
        assert corpus.fingerprint("evaluation") != known


@pytest.mark.parametrize("name", ["mine.txt", "mine.jsonl"])
def test_a_path_is_the_same_wherever_a_worker_stands(tmp_path, monkeypatch, name):
    write(tmp_path / "here" / name, ROWS)
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    corpus = Corpus.coerce(name)
    monkeypatch.chdir(tmp_path / "there")
    assert "One row" in corpus.text("evaluation")
    assert Corpus.coerce(corpus.dump()) == corpus


@pytest.mark.parametrize(
    ("text", "corpus"),
    [
        ("embedded", EmbeddedCorpus()),
        ("wikitext2", WikiText2()),
        ("c4", C4()),
        ("ptb", PTB()),
        ("/a/b.txt", TextFile(path="/a/b.txt")),
        ("/a/b", TextFile(path="/a/b")),
        ("/a/c4", TextFile(path="/a/c4")),
        ("/a/b.md", TextFile(path="/a/b.md")),
        ("/a/B.JSONL", DocumentFile(path="/a/B.JSONL")),
        ("/a/b.json.gz", DocumentFile(path="/a/b.json.gz")),
        ("/a/b.parquet", DocumentFile(path="/a/b.parquet")),
    ],
)
def test_what_a_name_or_path_means(text, corpus):
    assert Corpus.coerce(text) == corpus


def test_a_name_that_is_none_gets_the_nearest():
    with pytest.raises(InputError, match=r"^Unknown corpus 'wikitext-2'\. Did you mean 'wikitext2'\?"):
        Corpus.coerce("wikitext-2")


def test_a_file_without_a_suffix_is_a_text(tmp_path, monkeypatch):
    (tmp_path / "speech").write_text("Words.")
    monkeypatch.chdir(tmp_path)
    assert Corpus.coerce("speech").text("evaluation") == "Words."


class TestPastedText:
    def test_it_is_part_of_the_config(self):
        config = RunConfig(calibration=Calibration(corpus=PastedText(content="Some words.")))
        again = RunConfig.model_validate_json(config.canonical())
        assert again.calibration.corpus.text("calibration") == "Some words."
        assert PastedText(content="a").fingerprint("evaluation") != PastedText(content="b").fingerprint("evaluation")

    def test_without_a_text_it_says_so(self):
        with pytest.raises(InputError, match=r"^pasted = '' is empty; paste a text\.$"):
            identify(RunConfig(calibration=Calibration(corpus=PastedText(content=" \n"))))

    def test_shorter_than_a_window(self, tokenizer):
        with pytest.raises(InputError, match=r"^calibration\.seqlen = 8 is longer .* which has 3 tokens"):
            windows_to_calibrate_on(PastedText(content=words(1, 2, 3)), tokenizer, 1, 8, 0)


class TestLocalCopies:
    @pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json.gz", ".parquet"])
    @pytest.mark.parametrize(
        ("corpus", "purpose", "split", "field", "join"),
        [
            (WikiText2(), "calibration", "train", "text", " "),
            (WikiText2(), "evaluation", "test", "text", "\n\n"),
            (C4(), "calibration", "train", "text", " "),
            (C4(), "evaluation", "validation", "text", " "),
            (PTB(), "calibration", "train", "sentence", " "),
            (PTB(), "evaluation", "test", "sentence", " "),
        ],
    )
    def test_every_row_joined_as_the_literature_does(self, copies, corpus, purpose, split, field, join, suffix):
        file = write(copies / corpus.name / f"{split}{suffix}", ROWS, field)
        assert corpus.text(purpose) == join.join(ROWS)
        assert corpus.label(purpose) == f"{corpus.title} ({split}, local copy)"
        known = corpus.fingerprint(purpose)
        assert re.fullmatch(r"local copy [0-9a-f]{16}, reading 1", known)
        write(file, [*ROWS, "more"], field)
        assert corpus.fingerprint(purpose) != known

    def test_one_part_may_be_here_without_the_other(self, copies):
        write(copies / "wikitext2" / "test.jsonl", ROWS)
        assert WikiText2().fingerprint("evaluation").startswith("local copy")
        with pytest.raises(InputError) as caught:
            WikiText2().fingerprint("calibration")
        assert str(caught.value) == (
            "corpus = 'wikitext2' cannot be reached: the hub does not answer and the corpus is not in the local cache; check "
            f"the connection, or put a local copy as {copies}/wikitext2/train.jsonl, or choose the embedded corpus or a file "
            "of your own."
        )
        assert WikiText2().label("calibration") == "WikiText-2 (train)"

    def test_without_a_folder_the_sentence_names_the_variable(self, monkeypatch):
        monkeypatch.delenv("PRUNESCOPE_CORPORA", raising=False)
        with pytest.raises(InputError, match=r"as ptb/test\.jsonl into a folder that PRUNESCOPE_CORPORA names"):
            PTB().fingerprint("evaluation")

    def test_a_folder_that_is_none(self, copies):
        copies.rmdir()
        with pytest.raises(NotFound, match=f"^PRUNESCOPE_CORPORA = '{copies}' is not a folder"):
            C4().fingerprint("evaluation")

    def test_two_copies_are_one_too_many(self, copies):
        for suffix in (".jsonl", ".parquet"):
            write(copies / "ptb" / f"test{suffix}", ROWS, "sentence")
        with pytest.raises(
            InputError, match=r"^corpus = 'ptb' has two local copies, .*test\.jsonl and .*test\.parquet"
        ):
            PTB().fingerprint("evaluation")

    def test_a_wrong_field_names_file_and_fields(self, copies):
        file = write(copies / "ptb" / "test.jsonl", ROWS, "text")
        with pytest.raises(InputError) as caught:
            PTB().fingerprint("evaluation")
        assert str(caught.value) == (
            f"corpus = 'ptb' (local copy {file}), line 1, has no field 'sentence'; its fields are id, text."
        )

    def test_of_c4_no_more_documents_are_read_than_the_literature_counts(self, copies):
        rows = [f"Document {number}." for number in range(1105)]
        file = write(copies / "c4" / "validation.jsonl", rows)
        file.write_bytes(file.read_bytes() + b"not read")
        assert C4().documents("evaluation") == rows[:1100]

    def test_a_copy_that_changes_while_a_run_waits_is_not_read(self, copies):
        file = write(copies / "c4" / "train.jsonl", ROWS)
        evaluation = Evaluation(corpus=PastedText(content="Words."))
        config = RunConfig(calibration=Calibration(corpus=C4()), evaluation=evaluation)
        waiting = pinned_texts(config, identify(config))
        assert waiting.calibration.corpus.documents("calibration") == ROWS
        assert waiting.canonical() == config.canonical()
        write(file, ["other"])
        with pytest.raises(InputError, match=r"^corpus = 'c4' has changed since the run was submitted"):
            waiting.calibration.corpus.documents("calibration")
        assert config.calibration.corpus.documents("calibration") == ["other"]


def test_only_c4_draws_windows_within_documents_and_counts_256():
    special = {cls.name for cls in Corpus.registry.classes() if cls.within_documents or cls.most_windows}
    assert special == {"c4"}
    assert C4.most_windows == 256


def test_of_c4_the_first_256_windows_are_evaluated_on(copies, tokenizer):
    write(copies / "c4" / "validation.jsonl", [words(*range(start, start + 1000)) for start in range(0, 3000, 1000)])
    every = windows_to_evaluate_on(C4(), tokenizer, None, 10)
    assert torch.equal(every, torch.arange(2560).reshape(256, 10))
    assert windows_to_evaluate_on(C4(), tokenizer, 4, 10)[:, 0].tolist() == [0, 640, 1280, 1920]


def test_texts_without_documents_are_cut_as_ever(tmp_path, tokenizer):
    corpus = DocumentFile(
        path=str(write(tmp_path / "a.jsonl", [words(*range(start, start + 50)) for start in (0, 50)]))
    )
    tokens = tokenize(corpus, "calibration", tokenizer)
    assert tokens.tolist() == list(range(100))
    assert torch.equal(windows_to_calibrate_on(corpus, tokenizer, 5, 20, 3), calibration_windows(tokens, 5, 20, 3))


def encode(texts) -> list[list[int]]:
    return [[int(word) for word in text.split()] for text in texts]


class TestWindowsWithinDocuments:
    #: Document d is d*100, d*100 + 1, …; number 3 has just a window's tokens, which is not more than a window.
    DOCUMENTS = tuple(
        words(*range(d * 100, d * 100 + length)) for d, length in enumerate([5, 30, 11, 10, 0, 64, 9, 12])
    )
    LONG = (1, 2, 5, 7)

    @given(st.integers(0, 2**31 - 1), st.integers(1, 20))
    def test_each_is_a_piece_of_one_long_document(self, seed, windows):
        drawn = document_windows(self.DOCUMENTS, encode, windows, 10, seed)
        assert drawn.dtype == torch.int64
        assert drawn.shape == (windows, 10)
        assert torch.equal(drawn, drawn[:, :1] + torch.arange(10))
        documents = (drawn[:, 0] // 100).tolist()
        assert torch.equal(drawn[:, -1] // 100, drawn[:, 0] // 100)
        assert set(documents) <= set(self.LONG)
        assert len(set(documents)) == min(windows, len(self.LONG))

    def test_the_seed_decides(self):
        first = document_windows(self.DOCUMENTS, encode, 8, 10, 0)
        assert torch.equal(first, document_windows(self.DOCUMENTS, encode, 8, 10, 0))
        assert not torch.equal(first, document_windows(self.DOCUMENTS, encode, 8, 10, 1))

    def test_more_windows_begin_with_the_same_ones(self):
        many = [words(*range(d * 20, d * 20 + d % 19)) for d in range(900)]
        longer = document_windows(many, encode, 300, 10, 5)
        for windows in (1, 7, 64, 200):
            assert torch.equal(document_windows(many, encode, windows, 10, 5), longer[:windows])

    def test_every_document_and_every_place_can_be_drawn(self):
        starts = {int(document_windows(self.DOCUMENTS, encode, 1, 10, seed)[0, 0]) for seed in range(1500)}
        assert starts == {
            d * 100 + start for d, last in ((1, 20), (2, 1), (5, 54), (7, 2)) for start in range(last + 1)
        }

    def test_it_stops_looking_when_there_is_enough(self):
        many, seen = [words(*range(20))] * 5000, []
        document_windows(many, lambda texts: seen.append(len(texts)) or encode(texts), 70, 10, 0)
        assert sum(seen) <= 128

    def test_where_all_are_short_it_ends_with_a_sentence(self):
        with pytest.raises(InputError) as caught:
            document_windows(["1 2 3"] * 1480, encode, 4, 10, 0)
        assert str(caught.value) == (
            "calibration.seqlen = 10 is too long: none of the 1,480 documents looked at has more tokens; choose shorter "
            "windows or another corpus."
        )

    def test_they_are_kept_on_disk_by_seed_and_size(self, copies, cache, tokenizer, monkeypatch):
        write(copies / "c4" / "train.jsonl", list(self.DOCUMENTS))
        first = windows_to_calibrate_on(C4(), tokenizer, 4, 10, 0)
        other = windows_to_calibrate_on(C4(), tokenizer, 4, 10, 1)
        assert torch.equal(first, document_windows(self.DOCUMENTS, encode, 4, 10, 0))
        assert not torch.equal(first, other)
        assert len(list((cache / "tokens").glob("*.npy"))) == 2
        monkeypatch.setattr(C4, "documents", lambda self, purpose: pytest.fail("read again"))
        assert torch.equal(windows_to_calibrate_on(C4(), tokenizer, 4, 10, 0), first)

    def test_what_they_share_with_the_evaluation_is_counted(self, copies, tokenizer):
        documents = [words(*range(start, start + 100)) for start in (0, 1000, 2000)]
        write(copies / "c4" / "train.jsonl", documents[:2])
        write(copies / "c4" / "validation.jsonl", documents[1:])
        calibration = windows_to_calibrate_on(C4(), tokenizer, 2, 90, 0)
        evaluation = windows_to_evaluate_on(C4(), tokenizer, None, 50)
        assert overlapping_windows(calibration, evaluation) == 2
        assert np.intersect1d(calibration.numpy(), evaluation.numpy()).min() >= 1000
