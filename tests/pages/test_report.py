"""Reports: nothing from outside, nothing unescaped, and the store's figures."""

import json
import re
import tomllib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from core.config import RunConfig
from core.errors import InputError
from core.evaluation.result import CorpusPerplexity, perplexity
from dashboard.components import cache
from dashboard.components import report as offered
from dashboard.report import comparison_report, run_report
from dashboard.report.__main__ import main
from dashboard.report.parts import cell, inert
from dashboard.report.theme import palettes
from tests.pages.conftest import add_run, open_app

EVIL = "<script>alert('me')</script> & \"co\""
LOADING = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "object": "data",
    "embed": "src",
    "source": "src",
}


class Parsed(HTMLParser):
    """Tags with attributes, the text outside of scripts, and the content of each script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self._open = ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag):
        self._open = ""

    def handle_data(self, data):
        if self._open == "script":
            self.scripts.append((self.tags[-1][1], data))
        elif self._open != "style" and data.strip():
            self.words.append(data.strip())
            if self._open in ("td", "th"):
                self.rows[-1].append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def charts(self) -> dict[str, dict]:
        return {str(of["data-chart"]): json.loads(data) for of, data in self.scripts if "data-chart" in of}

    def download(self, number: int) -> str:
        return next(json.loads(data) for of, data in self.scripts if of.get("id") == f"download-{number}")


@pytest.fixture
def evil(store):
    also = CorpusPerplexity(
        evaluated_on=f"{EVIL}.txt", dense=perplexity([2.0, 2.2], 8), pruned=perplexity([3.0, 3.2], 8)
    )
    run = add_run(store, RunConfig(sparsity=0.6), also=(also,), environment={"torch": "2.13", "device": "cpu"})
    store.rename(run.id, EVIL)
    return store.run(run.id)


@pytest.fixture
def two(store, evil):
    return evil, add_run(store, RunConfig(method="magnitude"), loss=5.0)


def html_of(store, two, kind: str) -> str:
    return run_report(two[0], store) if kind == "run" else comparison_report(two[0], two[1], store)


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_nothing_is_loaded_from_outside(store, two, kind):
    parsed = Parsed(html_of(store, two, kind))
    assert [attributes for tag, attributes in parsed.tags if LOADING.get(tag) in attributes] == []
    policy = next(attributes for tag, attributes in parsed.tags if attributes.get("http-equiv"))
    assert policy["content"].startswith("default-src 'none';")
    assert "http" not in policy["content"]
    styles = re.findall(r"<style>(.*?)</style>", html_of(store, two, kind), re.DOTALL)
    assert not re.search(r"url\(|@import", "".join(styles))
    links = [attributes["href"] for tag, attributes in parsed.tags if tag == "a"]
    papers = [run.config.method.reference.link for run in (two if kind == "comparison" else two[:1])]
    assert links == papers


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_names_are_escaped(store, two, kind):
    html = html_of(store, two, kind)
    assert "<script>alert" not in html
    assert "alert(&#39;me&#39;)" in html
    assert EVIL in Parsed(html).text


def test_the_figures_are_the_stores(store, evil):
    parsed = Parsed(run_report(evil, store))
    result = evil.result
    for found in (result.dense_perplexity, result.perplexity):
        assert f"{found.value:.2f} ± {found.standard_error:.2f}" in parsed.text
    (also,) = result.also
    assert f"{also.dense.value:.2f} ± {also.dense.standard_error:.2f} → {also.pruned.value:.2f}" in parsed.text
    assert "on Wikipedia (embedded), 2 × 256 tokens" in parsed.text
    assert "192 of 384 weights pruned" in parsed.text
    assert ["torch", "2.13"] in parsed.rows
    table = store.modules(evil.id)
    modules = [row for row in parsed.rows if row and row[0].startswith("blocks.")]
    assert [row[0] for row in modules] == table.module.tolist()
    assert [row[7] for row in modules] == [f"{error:.5f}" for error in table.error]


def test_everything_is_within_in_full_precision(store, evil):
    parsed = Parsed(run_report(evil, store))
    content = json.loads(parsed.download(1))
    assert content["result"] == evil.result.model_dump(mode="json")
    assert content["config"] == evil.config.model_dump(mode="json")
    assert content["perplexity"] == evil.result.perplexity.value
    assert pd.DataFrame(content["modules"]).error.tolist() == store.modules(evil.id).error.tolist()
    assert parsed.download(2) == store.modules(evil.id).to_csv(index=False)


def test_the_charts_show_the_runs_modules(store, evil):
    charts = Parsed(run_report(evil, store)).charts()
    assert charts.keys() == {"sparsity-by-block", "sparsity-grid", "error-grid"}
    cells = charts["error-grid"]["data"][1]["customdata"]
    assert {(block, label): error for block, label, error in cells} == {
        (row.block, row.label): row.error for row in store.modules(evil.id).itertuples()
    }


def test_an_uneven_allocation_has_a_chart_of_its_own(store, evil, monkeypatch):
    table = store.modules(evil.id)
    table.loc[table.block == 1, "target"] = [0.4, 0.8]
    monkeypatch.setattr(store, "modules", lambda run_id: table)
    (line,) = Parsed(run_report(evil, store)).charts()["allocation"]["data"]
    np.testing.assert_allclose(line["y"], [0.5, 0.6, 0.5])
    np.testing.assert_allclose(line["error_y"]["array"], [0, 0.2, 0], atol=1e-12)


@pytest.mark.parametrize("kind", ["run", "comparison"])
def test_stand_in_colours_have_the_themes_in_their_place(store, two, kind):
    theme = tomllib.loads((Path(__file__).parents[2] / ".streamlit" / "config.toml").read_text())["theme"]
    found = palettes()
    assert found["light"]["#000001"] == theme["light"]["chartCategoricalColors"][0]
    assert found["dark"]["#000020"] == theme["dark"]["chartSequentialColors"][9]
    html = html_of(store, two, kind)
    used = {color for chart in Parsed(html).charts().values() for color in re.findall(r"#0000\d\d", json.dumps(chart))}
    assert used
    assert used <= found["light"].keys()
    assert used <= found["dark"].keys()
    assert theme["dark"]["chartSequentialColors"][9] in html


def test_it_says_how_to_repeat_it_and_what_to_cite(store, evil):
    parsed = Parsed(run_report(evil, store))
    assert f"python -m core prune --config {evil.id}.json" in parsed.text
    config = next(word for word in parsed.words if word.startswith('{\n  "model"'))
    assert RunConfig.model_validate_json(config) == evil.config
    assert evil.config.method.reference.bibtex in parsed.text


def test_a_comparison_shows_what_differs(store, two):
    a, b = two
    parsed = Parsed(comparison_report(a, b, store))
    assert ["sparsity", "0.6", "0.5"] in parsed.rows
    assert ["method", "wanda", "magnitude"] in parsed.rows
    row = next(row for row in parsed.rows if row and row[0] == "perplexity")
    assert row[1:3] == [f"{run.result.perplexity.value:.6g}" for run in two]
    assert "over the model 100.0%, where masks that know nothing of each other would have about 33.3%" in parsed.text
    content = json.loads(parsed.download(1))
    assert (content["a"], content["b"]) == (a.id, b.id)
    assert len(content["modules"]) == 6
    assert parsed.charts().keys() == {"sparsity-lines", "overlap-grid"}


def test_what_has_not_finished_has_no_report(store, run):
    attempt, _ = store.submit(RunConfig(sparsity=0.3), run.identity)
    with pytest.raises(InputError, match="has not finished, so there is nothing to report"):
        run_report(store.run(attempt.run_id), store)
    with pytest.raises(InputError, match="has not finished"):
        comparison_report(run, store.run(attempt.run_id), store)


@pytest.mark.parametrize(
    ("value", "form", "words"),
    [
        (None, "", "–"),
        (float("nan"), ".2f", "–"),
        (True, "", "yes"),
        (0.5, ".1%", "50.0%"),
        (3, "", "3"),
        ([1], "", "[1]"),
    ],
)
def test_cells_are_words(value, form, words):
    assert cell(value, form) == words


def test_data_cannot_end_its_script():
    text = inert(json.dumps("</script><script>alert(1)//\u2028"))
    assert "<" not in text
    assert json.loads(text) == "</script><script>alert(1)//\u2028"


# The command and the pages ---------------------------------------------------------------------------------------------


def test_the_command_writes_both_kinds(store, two, tmp_path):
    for number, runs in enumerate(([two[0].id], [two[0].id, two[1].id])):
        out = tmp_path / f"{number}.html"
        done = CliRunner().invoke(main, [*runs, "--out", str(out)])
        assert (done.exit_code, done.output) == (0, f"Saved to {out}.\n")
        assert out.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["0" * 16, "--out", "x.html"], "run = '0000000000000000' does not exist"),
        (["0" * 16, "--out", "x.pdf"], "end it in .html"),
    ],
)
def test_the_command_refuses_in_one_sentence(store, tmp_path, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert told in done.output
    assert done.output.count("\n") == 1


def test_the_pages_offer_reports_and_make_none_until_they_are_asked(store, two, monkeypatch):
    made: list[str] = []
    monkeypatch.setattr(offered, "of_run", lambda run: made.append(run.id) or "")
    monkeypatch.setattr(offered, "of_two", lambda a, b: made.append(a.id) or "")
    for page in (None, "dashboard/compare.py"):
        app = open_app(page, run=two[0].id)
        assert "Report (HTML)" in [button.label for button in app.get("download_button")]
    assert made == []


def test_what_the_pages_hand_out_is_the_report(store, two):
    cache.store()
    assert offered.of_run(two[0]).startswith("<!doctype html>")
    assert offered.of_two(*two).startswith("<!doctype html>")
    assert json.loads(offered.in_full(two[0]))["run_id"] == two[0].id
    assert json.loads(offered.two_in_full(*two))["b"] == two[1].id
