"""Published perplexities: the data file against the documents they were printed in, and runs against them."""

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from core.api import make_config
from core.config import RunConfig
from core.evaluation.result import CorpusPerplexity, perplexity
from core.methods import Method
from core.methods.sparsegpt import SparseGPT
from core.models.sources import Embedded, Hub
from core.published import Published, PublishedResult, against_published, published, published_table
from core.store import Run
from tests.core.test_sweep_tables import run_of

SEEDS = Path(__file__).parents[3] / "shared" / "seeds"
DOCUMENT = {0: "000_1257e7ad3d6b796b.txt", 1: "001_b9efb16b01685e78.txt"}
OPT = ("125M", "350M", "1.3B", "2.7B", "6.7B", "13B")


def printed(model: str, method: str, sparsity: str = "50%") -> list[str]:
    """The figures as they are in the file, one a source."""
    wanted = (model, method, sparsity)
    return [r.perplexity for r in published().results if (r.model, r.method, r.sparsity) == wanted]


def test_figures_read_by_hand() -> None:
    assert printed("LLaMA-2-7B", "clearcut") == ["6.78"]
    assert printed("LLaMA-2-7B", "sparsegpt") == ["7.24"]
    assert printed("LLaMA-3.1-8B", "ria") == ["9.43"]
    assert printed("LLaMA-3.1-8B", "wanda") == []  # printed as "-"
    assert printed("OPT-6.7B", "wanda") == ["11.94", "11.88"]  # in both programs
    assert printed("OPT-125M", "dense", "0%") == ["27.65"]
    assert printed("OPT-13B", "magnitude") == ["1.2e4"]
    assert printed("OPT-350M", "wanda", "2:4") == ["107.12"]
    assert printed("OPT-13B", "sparsegpt", "4:8") == ["11.86"]


def test_the_file_is_whole() -> None:
    known = published()
    assert len(known.results) == 10 + 6 * (1 + 3 * 3)
    keys = [(r.source, r.model, r.method, r.sparsity, r.corpus) for r in known.results]
    assert len(set(keys)) == len(keys)
    assert {r.corpus for r in known.results} == {"wikitext2"}
    for result in known.results:
        assert result.value > 1
        assert result.method == "dense" or result.method in Method.registry
    assert {r.sparsity: (r.pattern.name, r.target) for r in known.results} == {
        "0%": ("unstructured", 0.0),
        "50%": ("unstructured", 0.5),
        "2:4": ("nm", 0.5),
        "4:8": ("nm", 0.5),
    }
    hub_ids = [name for names in known.models.values() for name in names]
    assert len(set(hub_ids)) == len(hub_ids)
    assert {r.model for r in known.results} == set(known.models)


def test_every_figure_stands_in_its_document() -> None:
    if not SEEDS.is_dir():
        pytest.skip(f"the documents are not at {SEEDS}")
    lines = {
        number: [re.sub(r"[*\s]", "", line) for line in (SEEDS / name).read_text(encoding="utf-8").splitlines()]
        for number, name in DOCUMENT.items()
    }
    first = [line.strip("|").split("|") for line in lines[0] if line.startswith(("|LLaMA", "|OPT"))]
    told = {(r.model, r.method): r.perplexity for r in published().results if r.source == "clearcut"}
    for model, *figures in first:
        methods = ("sparsegpt", "wanda", "ria", "clearcut")
        assert figures == [told.get((model, method), "-") for method in methods]
    second = [line.strip("|").split("|") for line in lines[1] if re.match(r"\|\w+\|[\d:%]+\|", line)]
    told_all = {(r.model, r.method, r.sparsity): r.perplexity for r in published().results if r.source == "nn-pruning"}
    for method, sparsity, *figures in second:
        assert figures == [told_all.pop((f"OPT-{size}", method.lower(), sparsity)) for size in OPT]
    assert told_all == {}
    assert len(first) == 3
    assert len(second) == 10


def test_a_file_that_contradicts_itself_is_refused() -> None:
    known = published()
    unknown = known.results[0].model_copy(update={"model": "LLaMA-9"})
    with pytest.raises(ValidationError, match="LLaMA-9"):
        Published(sources=known.sources, models=known.models, results=(unknown,))


def on_wikitext(perplexity: float, model: str = "facebook/opt-125m", **config: Any) -> Run:
    """A run of a hub model on a corpus of the name that the file gives to WikiText-2."""
    source = Embedded() if model == "embedded" else Hub(id=model)
    run = run_of(perplexity, **({"model": source, "method": "wanda"} | config))
    evaluation = run.config.evaluation.model_copy(update={"corpus": SimpleNamespace(name="wikitext2")})
    return run.model_copy(update={"config": run.config.model_copy(update={"evaluation": evaluation})})


def test_a_run_beside_what_was_published() -> None:
    dense, pruned = against_published(on_wikitext(40.0))
    assert (dense.result.perplexity, dense.perplexity) == ("27.65", 8.0)
    assert dense.difference == pytest.approx(8.0 - 27.65)
    assert (pruned.result.perplexity, pruned.source.title) == ("38.78", "nn-pruning")
    assert pruned.difference == pytest.approx(1.22)
    both = against_published(on_wikitext(12.0, "facebook/opt-6.7b"))
    assert [(one.source.seed, one.result.method) for one in both] == [(0, "wanda"), (1, "dense"), (1, "wanda")]
    assert [one.difference for one in both] == pytest.approx([0.06, 8.0 - 10.86, 0.12])
    nm = against_published(on_wikitext(12.0, sparsity="4:8", method="sparsegpt"))
    assert [one.result.perplexity for one in nm] == ["27.65", "46.91"]


def test_a_further_corpus_counts_too() -> None:
    run = on_wikitext(40.0)
    first, further = SimpleNamespace(name="embedded"), run.config.evaluation.corpus
    evaluation = run.config.evaluation.model_copy(update={"corpus": first, "also": (further,)})
    result = run_of(11.0).result
    assert result is not None
    also = CorpusPerplexity(evaluated_on="WikiText-2", dense=perplexity([3.0], 8), pruned=perplexity([4.0], 8))
    run = run.model_copy(
        update={
            "config": run.config.model_copy(update={"evaluation": evaluation}),
            "result": result.model_copy(update={"also": (also,)}),
        }
    )
    assert [one.perplexity for one in against_published(run)] == pytest.approx([math.exp(3), math.exp(4)])


@pytest.mark.parametrize(
    "change",
    [
        {"sparsity": 0.6},
        {"sparsity": "1:4"},
        {"allocation": "owl"},
        {"stages": ["reconstruction"]},
        {"method": SparseGPT(damping=0.1)},
        {"method": "ria"},
        {"pattern": {"pattern": "unstructured", "group": "layer"}},
    ],
    ids=str,
)
def test_only_the_same_pruning_is_set_against_it(change: dict[str, Any]) -> None:
    assert [one.result.method for one in against_published(on_wikitext(40.0, **change))] == ["dense"]


def test_another_model_or_text_has_nothing_published() -> None:
    assert against_published(on_wikitext(40.0, "someone/opt-125m")) == []
    assert against_published(on_wikitext(40.0, "embedded")) == []
    assert against_published(run_of(40.0, model=Hub(id="facebook/opt-125m"))) == []
    assert against_published(run_of(None, model=Hub(id="facebook/opt-125m"))) == []


def test_the_layer_of_a_curve() -> None:
    table = published_table(Hub(id="facebook/opt-1.3b"))
    assert len(table) == 10
    row = table[(table.method == "Magnitude") & (table.sparsity == "50%")].iloc[0]
    assert (row.model, row.target, row.perplexity, row.printed) == ("OPT-1.3B", 0.5, 1600.0, "1.6e3")
    assert "nn-pruning" in row.source
    assert "128 C4 sequences" in row.conditions
    assert len(published_table()) == len(published().results)
    assert len(published_table(RunConfig().model)) == 0
    assert isinstance(published().results[0], PublishedResult)
    assert make_config(sparsity=0.5).pattern == published().results[0].pattern
