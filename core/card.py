"""The model card of a saved model: exactly how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterable

from core.errors import InputError
from core.reference import Reference
from core.registry import Component
from core.store import Run

_LOAD = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```"""
_LOAD_FACTORED = """Some of its modules are products of two thinner ones, which transformers does not know; load it with PruneScope:

```python
import core

loaded = core.LocalFolder(path="path/to/this/folder").load()
loaded.model, loaded.tokenizer
```"""


def model_card(run: Run, factored: bool, folded: dict[str, list[str]], permuted: Iterable[str]) -> str:
    """The card as Markdown. ``folded`` and ``permuted``: modules whose order of inputs was folded, or is kept beside."""
    result, config = run.result, run.config
    if result is None:
        raise InputError(f"run = {run.id!r} has not finished, so there is no pruned model; repeat the run.")
    dense, pruned = result.dense_perplexity, result.perplexity
    sections = [
        f"---\ntags:\n- pruned\n- prunescope\n{_base(run)}---\n\n# {config.model.label}, {config.title}",
        f"{config.model.label} (revision `{run.identity.model_revision}`), pruned by PruneScope, run `{run.id}`.",
        _table(
            ("", "dense", "pruned"),
            [
                ("perplexity", f"{dense.value:.3f}", f"{pruned.value:.3f}"),
                *(
                    (f"perplexity on {text.evaluated_on}", f"{text.dense.value:.3f}", f"{text.pruned.value:.3f}")
                    for text in result.also
                ),
                ("weights of prunable modules", f"{result.parameters:,}", f"{_left(run):,}"),
                ("bytes, with a bitmask", f"{result.dense_bytes:,}", f"{result.bitmask_bytes:,}"),
            ],
        ),
        f"Perplexity on {result.evaluated_on}; calibrated on {result.calibrated_on}. Target sparsity "
        f"{result.target_sparsity:.4%}, achieved {result.sparsity:.4%} ({result.pruned:,} weights).",
        "## How it was made\n\n" + _table(("part", "choice", "parameters"), [_row(part) for part in _parts(run)]),
        *_orders(folded, sorted(permuted)),
        "## Loading\n\n" + (_LOAD_FACTORED if factored else _LOAD),
        "## Repeating it\n\n`python -m core prune --config prunescope.json`, with this folder's `prunescope.json`:\n\n"
        f"```json\n{json.dumps(config.model_dump(mode='json'), indent=2)}\n```\n\nIt ran with "
        + ", ".join(f"{name} {value}" for name, value in result.environment.items())
        + ".",
        "## Citation\n\n```bibtex\n" + "\n\n".join(_references(run)) + "\n```",
    ]
    return "\n\n".join(sections) + "\n"


def _parts(run: Run) -> list[Component]:
    config = run.config
    return [config.method, config.pattern, config.allocation, *config.stages]


def _base(run: Run) -> str:
    return f"base_model: {run.config.model.label}\n" if run.config.model.name == "hub" else ""


def _left(run: Run) -> int:
    assert run.result is not None
    return (run.result.parameters_after or run.result.parameters) - run.result.pruned


def _row(part: Component) -> tuple[str, str, str]:
    parameters = ", ".join(f"{name} = {value}" for name, value in part.model_dump(mode="json").items())
    return part.kind, part.title, parameters or "–"


def _orders(folded: dict[str, list[str]], permuted: list[str]) -> list[str]:
    if not folded and not permuted:
        return []
    return [
        "## Order of inputs\n\nChannel reallocation chose N:M in another order of the inputs. "
        f"In {len(folded)} modules that order was folded into the modules before, so plain N:M holds there; "
        f"in {len(permuted)} modules N:M holds in the order kept in `pruning/masks.safetensors` under `permutation of <module>` "
        "(new position → column)."
    ]


def _references(run: Run) -> list[str]:
    found: dict[str, Reference] = {}
    for part in _parts(run):
        if (reference := getattr(part, "reference", None)) is not None:
            found[reference.key] = reference
    return [reference.bibtex for reference in found.values()]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
