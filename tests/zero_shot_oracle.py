"""lm-evaluation-harness's own run on local files, and small files of every task."""

import copy
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lm_eval.evaluator
import lm_eval.tasks
import pytest
from lm_eval.models.huggingface import HFLM

from core.models.sources import LoadedModel

TASKS_FOLDER = Path(lm_eval.tasks.__file__).parent
DEFINITIONS = {
    "boolq": "super_glue/boolq/default.yaml",
    "rte": "glue/rte/default.yaml",
    "hellaswag": "hellaswag/hellaswag.yaml",
    "arc_challenge": "arc/arc_challenge.yaml",
    "mnli": "glue/mnli/default.yaml",
    "winogrande": "winogrande/default.yaml",
    "arc_easy": "arc/arc_easy.yaml",
    "openbookqa": "openbookqa/openbookqa.yaml",
}
_DEFINITION = """
include: {include}
task: {name}
dataset_path: json
dataset_name: null
dataset_kwargs:
  cache_dir: {cache}
  data_files:
    {split}: {file}
training_split: null
fewshot_split: null
validation_split: {validation}
test_split: {test}
"""


def harness_model(loaded: LoadedModel, batch_size: int) -> HFLM:
    """The harness's own wrapper; with a tokenizer of its own, since it gives it a token to pad with."""
    return HFLM(pretrained=loaded.model, tokenizer=copy.deepcopy(loaded.tokenizer), batch_size=batch_size)


def harness_results(
    loaded: LoadedModel, names: Sequence[str], files: Path, tmp: Path, limit: int, batch_size: int
) -> dict[str, dict[str, Any]]:
    """By task: what ``simple_evaluate`` finds, reading the files with datasets' own loader, each as the split it is on the hub."""
    for name in names:
        split = "test" if name.startswith(("arc", "openbookqa")) else "validation"
        definition = _DEFINITION.format(
            include=TASKS_FOLDER / DEFINITIONS[name],
            name=name,
            cache=tmp / "cache",
            split=split,
            file=files / f"{name}.jsonl",
            validation="null" if split == "test" else split,
            test=split if split == "test" else "null",
        )
        (tmp / f"{name}.yaml").write_text(definition)
    manager = lm_eval.tasks.TaskManager(include_defaults=False, include_path=tmp)
    model = harness_model(loaded, batch_size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lm_eval.evaluator, "add_env_info", lambda results: None)  # it asks pip for all versions
        found = lm_eval.simple_evaluate(model=model, tasks=list(names), task_manager=manager, limit=limit)
    return {
        name: {
            "accuracy": found["results"][name]["acc,none"],
            "standard_error": found["results"][name]["acc_stderr,none"],
            "normalised": found["results"][name].get("acc_norm,none"),
            "normalised_error": found["results"][name].get("acc_norm_stderr,none"),
            "documents": found["n-samples"][name]["effective"],
            "available": found["n-samples"][name]["original"],
            "task_version": str(found["versions"][name]),
        }
        for name in names
    }


def write_tasks(folder: Path, documents: int = 9) -> Path:
    """A file of each task, with short random documents."""
    folder.mkdir()
    for number, name in enumerate(DEFINITIONS):
        chosen = random.Random(number)
        rows = [json.dumps(_document(name, chosen)) for _ in range(documents)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def _document(name: str, chosen: random.Random) -> dict[str, Any]:
    def words(count: int) -> str:
        return " ".join(chosen.choice(["river", "layer", "matrix", "forest", "a", "the"]) for _ in range(count))

    choices = {"text": [words(2), words(1), words(3)], "label": ["A", "B", "C"]}
    match name:
        case "boolq":
            return {"passage": words(6), "question": words(3), "label": chosen.randrange(2), "idx": 0}
        case "rte":
            return {"sentence1": words(5), "sentence2": words(3), "label": chosen.randrange(2)}
        case "mnli":
            return {"premise": words(5), "hypothesis": words(3), "label": chosen.randrange(3)}
        case "hellaswag":
            context = {"activity_label": words(1), "ctx_a": words(4), "ctx_b": "he"}
            return context | {"endings": [words(2), words(3), words(4), words(1)], "label": str(chosen.randrange(4))}
        case "winogrande":
            options = {"option1": "river", "option2": "layer", "answer": chosen.choice("12")}
            return {"sentence": f"{words(3)} _ {words(3)}.", **options}
        case "openbookqa":
            return {"question_stem": words(4), "choices": choices, "answerKey": chosen.choice("ABC")}
        case _:
            return {"question": words(4), "choices": choices, "answerKey": chosen.choice("ABC")}
