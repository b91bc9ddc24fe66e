"""Files of zero-shot tasks: what is wrong with one is said with file, line and field."""

import json

import pytest

from core.errors import InputError
from core.evaluation.accuracy import TaskAccuracy, accuracy_table
from core.evaluation.task_data import LocalFile
from core.evaluation.tasks import TASKS

BOOLQ = {"passage": "p", "question": "q", "label": 1}
CHOICES = {"text": ["a", "b"], "label": ["A", "B"]}
GOOD = {
    "boolq": BOOLQ,
    "rte": {"sentence1": "s", "sentence2": "t", "label": 0},
    "mnli": {"premise": "p", "hypothesis": "h", "label": 2},
    "hellaswag": {"activity_label": "a", "ctx_a": "a", "ctx_b": "b", "endings": ["x", "y"], "label": "1"},
    "winogrande": {"sentence": "the _ ran", "option1": "a", "option2": "b", "answer": "2"},
    "arc_easy": {"question": "q", "choices": CHOICES, "answerKey": "B"},
    "openbookqa": {"question_stem": "q", "choices": CHOICES, "answerKey": "A"},
}


def check(folder, name, content, suffix=".jsonl"):
    """What is said of a file with this content."""
    file = folder / f"{name}{suffix}"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError) as caught:
        LocalFile(TASKS[name], file).check()
    assert str(file) in str(caught.value)
    return str(caught.value).removeprefix(str(file))


@pytest.mark.parametrize("name", GOOD)
def test_every_field_is_needed(tmp_path, name):
    file = tmp_path / f"{name}.jsonl"
    file.write_text(json.dumps(GOOD[name]))
    LocalFile(TASKS[name], file).check()
    for field in GOOD[name]:
        lines = [GOOD[name], {key: value for key, value in GOOD[name].items() if key != field}]
        said = check(tmp_path, name, "\n".join(map(json.dumps, lines)))
        assert said == f", line 2, is no document of {TASKS[name].title}: the field {field} is missing."


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("boolq", {"label": -1}, "label = -1 is not valid: Input should be greater than or equal to 0."),  # hidden
        ("mnli", {"label": 3}, "label = 3 is not valid: Input should be less than or equal to 2."),
        ("rte", {"label": None}, "label = None is not valid: Input should be a valid integer."),
        ("rte", {"sentence1": 5}, "sentence1 = 5 is not valid: Input should be a valid string."),
        ("hellaswag", {"label": "2"}, "label = 2 is none of its 2 endings, counted from 0."),
        ("hellaswag", {"endings": ["x", ""]}, "endings.1 = '' is not valid: String should have at least 1 character."),
        ("winogrande", {"answer": ""}, "answer = '' is not valid: Input should be '1' or '2'."),
        ("winogrande", {"sentence": "the cat"}, "sentence has no gap (_) with words after it."),
        ("arc_easy", {"answerKey": "E"}, "answerKey = 'E' is none of the choices' labels (A, B)."),
        ("arc_easy", {"choices": {"text": ["a", "b"]}}, "the field choices.label is missing."),
        ("openbookqa", {"choices": CHOICES | {"label": ["A"]}}, "choices has 1 labels for 2 texts."),
    ],
)
def test_a_wrong_field_is_named(tmp_path, name, changes, said):
    assert check(tmp_path, name, json.dumps(GOOD[name] | changes)).endswith(f"{TASKS[name].title}: {said}")


@pytest.mark.parametrize(
    ("content", "suffix", "said"),
    [
        ("", ".jsonl", " is empty; give a file with documents of BoolQ."),
        (json.dumps(BOOLQ) + "\n{", ".jsonl", ", line 2, is not JSON ("),
        ("[1]", ".jsonl", ", line 1, is not a JSON object with the fields of BoolQ."),
        (b'{"passage": "\xff"}', ".jsonl", " is not UTF-8 (byte 13 cannot be read); convert it to UTF-8."),
        ("hello", ".parquet", " is not a parquet file ("),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content, suffix, said):
    assert check(tmp_path, "boolq", content, suffix).startswith(said)


def test_a_label_written_as_text_is_the_number(tmp_path):
    """The harness compares with ==, so a text would never be right."""
    file = tmp_path / "boolq.jsonl"
    file.write_text(json.dumps(BOOLQ | {"label": "1"}))
    data = LocalFile(TASKS["boolq"], file)
    assert data.load(data.fingerprint()).task_docs[0]["label"] == 1


def accuracy(task, share, error):
    known = {"normalised": None, "normalised_error": None, "documents": 10, "available": 20, "cut": 0, "seconds": 1.0}
    origin = {"source": "s", "fingerprint": "f", "task_version": "1", "harness": "0"}
    return TaskAccuracy(task=task, accuracy=share, standard_error=error, **known, **origin)


def test_the_means_are_over_tasks_that_all_know():
    dense = {name: accuracy(name, share, 0.03) for name, share in (("rte", 0.5), ("boolq", 0.7), ("mnli", 0.1))}
    pruned = {name: accuracy(name, share, 0.04) for name, share in (("boolq", 0.6), ("rte", 0.4))}
    table = accuracy_table({"dense": dense, "pruned": pruned})
    assert list(zip(table.task, table.weights, strict=True)) == [
        ("BoolQ", "dense"),
        ("BoolQ", "pruned"),
        ("RTE", "dense"),
        ("RTE", "pruned"),
        ("MNLI", "dense"),
        ("Mean of 2", "dense"),
        ("Mean of 2", "pruned"),
    ]
    assert table.accuracy.tolist()[-2:] == pytest.approx([0.6, 0.5])
    assert table.standard_error.tolist()[-2:] == pytest.approx([0.03 / 2**0.5, 0.04 / 2**0.5])
    assert table.documents.tolist()[-2:] == [20, 20]
    assert table.normalised.isna().all()


def test_a_table_of_nothing_is_empty():
    assert accuracy_table({"dense": {}}).empty
