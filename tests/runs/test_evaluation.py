"""Perplexity on several texts: of runs, of what is measured later, on the command line; and the losses of single tokens."""

import json
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from core.api import measure_now, run_config
from core.card import model_card
from core.cli.commands import main
from core.config import Evaluation, RunConfig, fingerprints, identify
from core.data import TextFile
from core.errors import InputError
from core.events import Event, Message, PhaseStarted, Progress
from core.measurements.perplexity import PerplexityOn
from core.models.sources import LocalFolder, ModelSource
from core.reopening import reopen
from core.settings import Settings
from core.stages.low_rank import LowRank
from core.store import Run, Store
from tests.runs.material import SEQLEN, naive_perplexity, run_options, sentence, sentences

Configs = Callable[..., RunConfig]
Folders = Callable[..., Path]
Texts = dict[str, Path]


@pytest.fixture
def further(tmp_path: Path) -> Path:
    """A third text, of which nothing stands in the others."""
    file = tmp_path / "further.txt"
    file.write_text(sentences(400, seed=11), encoding="utf-8")
    return file


def on(*files: Path, **changes: Any) -> Evaluation:
    corpora = [TextFile(path=str(file)) for file in files]
    return Evaluation.model_validate(
        {"corpus": corpora[0], "also": corpora[1:], "windows": 6, "seqlen": SEQLEN} | changes
    )


def of_run(run: Run, evaluation: Evaluation) -> PerplexityOn:
    return PerplexityOn.of_run(run, evaluation=evaluation, fingerprints=fingerprints(evaluation))


def of_dense(model: ModelSource, evaluation: Evaluation) -> PerplexityOn:
    return PerplexityOn.of_dense(model, evaluation=evaluation, fingerprints=fingerprints(evaluation))


def values(measurement: PerplexityOn, store: Store) -> list[float]:
    return [found.value for found in measurement.found(store) if found]


def phases(told: list[Event]) -> list[str]:
    return [event.phase for event in told if isinstance(event, PhaseStarted)]


def no_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelSource, "load", lambda source: pytest.fail("the model was loaded again"))


# Runs on several corpora ----------------------------------------------------------------------------------------------


def test_a_run_is_measured_on_every_corpus(config: Configs, store: Store, texts: Texts, further: Path) -> None:
    also = [{"corpus": "text", "path": str(further)}]
    told: list[Event] = []
    loaded, run = run_config(config("wanda", evaluation__also=also), store, told.append)
    dense = run.config.model.load()
    assert run.result is not None
    (found,) = run.result.also
    assert found.evaluated_on == f"further.txt, 6 × {SEQLEN} tokens"
    for side, file, result in (
        (dense, texts["evaluation"], run.result.dense_perplexity),
        (loaded, texts["evaluation"], run.result.perplexity),
        (dense, further, found.dense),
        (loaded, further, found.pruned),
    ):
        assert result.value == pytest.approx(naive_perplexity(side.model, side.tokenizer, file, 6), rel=1e-5)
    totals = {event.phase: event.total for event in told if isinstance(event, PhaseStarted)}
    assert totals["Measuring the dense model"] == totals["Measuring the pruned model"] == 12
    card = model_card(run, False, {}, [])
    assert f"| perplexity on {found.evaluated_on} | {found.dense.value:.3f} | {found.pruned.value:.3f} |" in card
    assert run.id != identify(config("wanda")).run_id(config("wanda"))


def test_what_is_known_of_the_dense_model_is_not_measured_again(config: Configs, store: Store, further: Path) -> None:
    also = [{"corpus": "text", "path": str(further)}]
    run_config(config(), store)
    told: list[Event] = []
    run_config(config(evaluation__also=also), store, told.append)
    totals = {event.phase: event.total for event in told if isinstance(event, PhaseStarted)}
    assert totals["Measuring the dense model"] == 6, "the further corpus only"
    told.clear()
    run_config(config("wanda", evaluation__also=also, evaluation__batch_size=1), store, told.append)
    assert "Measuring the dense model" not in phases(told)
    (known,) = [event.text for event in told if isinstance(event, Message)]
    assert "on evaluation.txt, further.txt is known" in known


def test_each_corpus_is_looked_at_for_text_of_the_calibration(config: Configs, store: Store, tmp_path: Path) -> None:
    both = tmp_path / "both.txt"
    both.write_text(sentences(20, seed=3))
    corpus = {"corpus": "text", "path": str(both)}
    _, run = run_config(
        config(calibration__corpus=corpus, calibration__windows=2000, evaluation__also=[corpus], evaluation__windows=2),
        store,
    )
    assert run.result is not None
    (warning,) = run.result.warnings
    assert warning.startswith("2 of 2 evaluation windows of both.txt share text")


def test_a_changed_further_text_is_another_run(config: Configs, further: Path) -> None:
    wanted = config(evaluation__also=[{"corpus": "text", "path": str(further)}])
    before = identify(wanted).run_id(wanted)
    further.write_text(further.read_text() + "More.")
    assert identify(wanted).run_id(wanted) != before


def test_a_further_text_that_is_too_short_is_said_before_the_model_is_loaded(
    config: Configs, store: Store, texts: Texts, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = config(evaluation__also=[{"corpus": "text", "path": str(texts["short"])}])
    no_loading(monkeypatch)
    with pytest.raises(InputError, match=r"evaluation\.seqlen = 32"):
        run_config(wanted, store)


def test_a_run_from_before_there_were_further_corpora_is_read(config: Configs, store: Store, home: Path) -> None:
    _, run = run_config(config(), store)
    with closing(sqlite3.connect(home / "runs.sqlite3")) as connection:
        config_text, identity, result = connection.execute("select config, identity, result from runs").fetchone()
        assert "also" not in config_text + identity
        old = json.loads(result)
        assert old.pop("also") == []
        connection.execute("update runs set result = ?", [json.dumps(old)])
        connection.commit()
    shutil.rmtree(store.folder(run.id) / "perplexity")
    again = store.run(run.id)
    assert again.result is not None
    assert again.result == run.result
    assert identify(again.config).run_id(again.config) == run.id
    own = PerplexityOn.of_run(
        again, evaluation=again.config.evaluation, fingerprints=again.identity.evaluation_fingerprints
    )
    assert own.found(store) == [None]
    measure_now(own, store)
    assert values(own, store) == pytest.approx([again.result.perplexity.value], rel=1e-6)


# The losses of single tokens ------------------------------------------------------------------------------------------


def test_the_losses_of_every_token_are_kept_with_their_text(
    config: Configs, store: Store, texts: Texts, further: Path
) -> None:
    evaluation = on(texts["evaluation"], further)
    parts = evaluation.model_dump()
    loaded, run = run_config(config(evaluation__also=parts["also"]), store)
    assert run.config.evaluation == evaluation
    pruned, dense = of_run(run, evaluation), of_dense(run.config.model, evaluation)
    assert pruned.known(store)
    assert dense.known(store)
    for side, model in ((pruned, loaded.model), (dense, run.config.model.load().model)):
        for file, found, kept in zip(
            (texts["evaluation"], further), side.found(store), side.token_losses(store), strict=True
        ):
            assert found is not None
            assert kept is not None
            assert (kept.tokens.dtype.name, kept.losses.dtype.name) == ("int32", "float32")
            assert (kept.tokens.shape, kept.losses.shape) == ((6, SEQLEN), (6, SEQLEN - 1))
            np.testing.assert_allclose(kept.losses.astype(np.float64).mean(1), found.losses, rtol=1e-6)
            assert (
                loaded.tokenizer.decode(kept.tokens[0])
                == file.read_text()[: len(loaded.tokenizer.decode(kept.tokens[0]))]
            )
            with torch.no_grad():
                logits = model(input_ids=torch.from_numpy(kept.tokens[4:5]).long()).logits[0].double()
            expected = [-float(logits[at].log_softmax(0)[kept.tokens[4, at + 1]]) for at in range(SEQLEN - 1)]
            np.testing.assert_allclose(kept.losses[4], expected, rtol=1e-5)
    store.delete(run.id)
    assert pruned.token_losses(store) == [None, None]
    assert dense.token_losses(store) != [None, None], "the dense model's serve other runs"


def test_of_a_very_long_text_only_the_windows_losses_are_kept(
    config: Configs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.evaluating.TOKENS_KEPT", 6 * SEQLEN - 1)
    _, run = run_config(config(), store)
    assert run.result is not None
    own = of_run(run, run.config.evaluation)
    assert own.token_losses(store) == [None]
    assert own.found(store) == [run.result.perplexity]
    monkeypatch.setattr("core.evaluating.TOKENS_KEPT", 6 * SEQLEN)
    _, run = run_config(config("wanda"), store)
    assert of_run(run, run.config.evaluation).token_losses(store) != [None]


def test_a_file_that_could_not_be_written_leaves_nothing(
    config: Configs, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(arrays: Any, file: Path, metadata: Any) -> None:
        file.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    model = config().model
    monkeypatch.setattr("safetensors.numpy.save_file", broken)
    with pytest.raises(InputError, match="PRUNESCOPE_HOME"):
        measure_now(of_dense(model, config().evaluation), store)
    assert [file for file in Settings().artifacts.rglob("*") if file.is_file()] == []


# Measured later -------------------------------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "updated": {"method": "sparsegpt"},
    "low rank": {"stages": (LowRank(rank_ratio=0.25),)},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_measured_on_further_texts(
    config: Configs, store: Store, further: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = config()
    loaded, run = run_config(RunConfig.model_validate({**base.model_dump(), **KINDS[kind]}), store)
    later = of_run(run, on(further, windows=4))
    assert not later.known(store)
    told: list[Event] = []
    measure_now(later, store, told.append)
    assert values(later, store) == pytest.approx(
        [naive_perplexity(reopen(run.id, store).model, loaded.tokenizer, further, 4)], rel=1e-5
    )
    assert values(later, store) == pytest.approx(
        [naive_perplexity(loaded.model, loaded.tokenizer, further, 4)], rel=1e-5
    )
    assert phases(told)[-1] == "Measuring"
    assert [event.done for event in told if isinstance(event, Progress)][-1] == 4
    no_loading(monkeypatch)
    measure_now(later, store)
    store.delete(run.id)
    assert later.found(store) == [None]
    assert store.measurements() == []


def test_only_the_texts_that_are_missing_are_measured(
    config: Configs, store: Store, texts: Texts, further: Path
) -> None:
    _, run = run_config(config(), store)
    told: list[Event] = []
    measure_now(of_run(run, on(texts["evaluation"], further)), store, told.append)
    totals = {event.phase: event.total for event in told if isinstance(event, PhaseStarted)}
    assert totals["Measuring"] == 6


def test_a_dense_model_measured_by_itself_is_known_to_its_runs(config: Configs, store: Store) -> None:
    wanted = config()
    dense = of_dense(wanted.model, wanted.evaluation)
    measure_now(dense, store)
    told: list[Event] = []
    _, run = run_config(wanted, store, told.append)
    assert "Measuring the dense model" not in phases(told)
    assert run.result is not None
    assert dense.found(store) == [run.result.dense_perplexity]


def test_what_was_measured_of_a_run_goes_when_it_is_repeated(config: Configs, store: Store, further: Path) -> None:
    _, run = run_config(config(), store)
    later = of_run(run, on(further))
    measure_now(later, store)
    _, again = run_config(config(), store)
    assert not later.known(store)
    with pytest.raises(InputError, match="was repeated meanwhile"):
        measure_now(later, store)
    now = of_run(again, on(further))
    measure_now(now, store)
    assert now.known(store)


def test_a_run_repeated_while_it_is_measured_gets_nothing_of_its_old_weights(
    config: Configs, store: Store, further: Path
) -> None:
    _, run = run_config(config(), store)
    later = of_run(run, on(further))

    def repeat(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 6:
            run_config(config(), Store.open())

    with pytest.raises(InputError, match="was repeated meanwhile"):
        measure_now(later, store, repeat)
    assert not later.known(store)


def test_what_has_changed_is_refused(own_folder: Path, store: Store, further: Path) -> None:
    model = LocalFolder(path=str(own_folder))
    later = of_dense(model, on(further))
    further.write_text(sentences(400, seed=12), encoding="utf-8")
    with pytest.raises(InputError, match="the text has changed since"):
        measure_now(later, store)
    later = of_dense(model, on(further))
    shutil.copy(own_folder / "config.json", own_folder / "more.json")
    with pytest.raises(InputError, match="has changed since"):
        measure_now(later, store)


def test_windows_longer_than_the_model_are_refused_before_it_is_loaded(
    tiny_folder: Folders, store: Store, further: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = of_dense(LocalFolder(path=str(tiny_folder())), on(further, seqlen=128))
    no_loading(monkeypatch)
    with pytest.raises(InputError, match=r"evaluation\.seqlen = 128 is beyond the model's maximum of 64"):
        measure_now(later, store)


# The command ----------------------------------------------------------------------------------------------------------


def evaluate(*words: Any) -> Any:
    result = CliRunner().invoke(main, ["evaluate", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("suffix", [".csv", ".json"])
def test_evaluate_prints_and_writes_dense_beside_pruned(
    config: Configs, store: Store, texts: Texts, further: Path, tmp_path: Path, suffix: str
) -> None:
    loaded, run = run_config(config("wanda", sparsity=0.7), store)
    out = tmp_path / f"table{suffix}"
    words = ("--run", run.id, "--evaluation-corpus", further, "--evaluation-also", texts["calibration"])
    printed = evaluate(*words, "--evaluation-windows", 3, "--out", out).stdout
    table = pd.read_csv(out) if suffix == ".csv" else pd.DataFrame(json.loads(out.read_text()))
    assert list(table.corpus) == ["further.txt", "calibration.txt"]
    assert (list(table.windows), list(table.seqlen)) == ([3, 3], [SEQLEN, SEQLEN])
    assert list(table.tokens) == [3 * (SEQLEN - 1)] * 2
    dense = run.config.model.load()
    for row, file in zip(table.to_dict(orient="records"), (further, texts["calibration"]), strict=True):
        for side, opened in (("dense", dense), ("pruned", loaded)):
            expected = naive_perplexity(opened.model, opened.tokenizer, file, 3)
            assert row[side] == pytest.approx(expected, rel=1e-5)
            assert f"{row[side]:.3f} ± {row[f'{side} standard error']:.3f}" in printed
    assert run.name in printed


def test_evaluate_warns_of_text_that_the_run_was_calibrated_on(
    config: Configs, store: Store, texts: Texts, tmp_path: Path
) -> None:
    """Also where all is known already, and of a dense model alone never."""
    own = tmp_path / "own.txt"
    shutil.copy(texts["calibration"], own)
    corpus = {"corpus": "text", "path": str(own)}
    _, run = run_config(config(calibration__corpus=corpus, calibration__windows=200), store)
    words = ("--evaluation-corpus", texts["evaluation"], "--evaluation-also", own, "--evaluation-windows", 10_000)
    for _ in range(2):
        told = " ".join(evaluate("--run", run.id, *words).stderr.split())
        count, total = re.findall(r"(\d+) of (\d+) evaluation windows of own\.txt share text", told)[0]
        assert 0 < int(count) < int(total)
        assert "windows of evaluation.txt" not in told
    model = str(run.config.model.path)
    assert "share text" not in evaluate("--model", model, *words, "--evaluation-seqlen", SEQLEN).stderr
    own.unlink()
    assert "share text" not in evaluate("--run", run.id).stderr
    assert "cannot be told: text = " in evaluate("--run", run.id).stderr


def test_evaluate_takes_from_the_run_what_is_not_said(
    config: Configs, store: Store, further: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    also = [{"corpus": "text", "path": str(further)}]
    _, run = run_config(config(evaluation__also=also), store)
    assert run.result is not None
    no_loading(monkeypatch)
    evaluate("--run", run.id, "--out", tmp_path / "own.csv")
    own = pd.read_csv(tmp_path / "own.csv")
    assert list(own.pruned) == pytest.approx([run.result.perplexity.value, run.result.also[0].pruned.value])
    assert list(own.dense) == pytest.approx([run.result.dense_perplexity.value, run.result.also[0].dense.value])
    evaluate("--run", run.id, "--evaluation-corpus", further, "--out", tmp_path / "further.csv")
    assert list(pd.read_csv(tmp_path / "further.csv").corpus) == ["further.txt"]


def test_evaluate_a_dense_model(tiny_folder: Folders, store: Store, further: Path) -> None:
    words = ("--model", tiny_folder(), "--evaluation-corpus", further, "--evaluation-windows", 4)
    printed = evaluate(*words, "--evaluation-seqlen", SEQLEN).stdout
    loaded = LocalFolder(path=str(tiny_folder())).load()
    (row,) = [line.split() for line in printed.splitlines() if line.strip().startswith("further.txt")]
    assert row[1:4] == ["4", str(SEQLEN), str(4 * (SEQLEN - 1))]
    assert float(row[4]) == pytest.approx(naive_perplexity(loaded.model, loaded.tokenizer, further, 4), rel=1e-5)
    assert "pruned" not in printed


def test_prune_measures_further_corpora_too(
    tiny_folder: Folders, store: Store, texts: Texts, further: Path, tmp_path: Path
) -> None:
    words = run_options(tiny_folder(), texts)
    also = ["--evaluation-also", str(further), "--evaluation-also", str(texts["calibration"])]
    result = CliRunner().invoke(main, ["prune", *words, *also, "--json", str(tmp_path / "run.json")])
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "run.json").read_text())["result"]["also"]
    assert [text["evaluated_on"] for text in found] == [
        f"{name}, 6 × {SEQLEN} tokens" for name in ("further.txt", "calibration.txt")
    ]
    for text in found:
        assert f"{text['dense']['value']:.3f} ±" in result.stdout
        assert f"→ {text['pruned']['value']:.3f} ±" in result.stdout
    (run,) = store.runs()
    again = CliRunner().invoke(main, ["prune", "--config", str(tmp_path / "run.json")])
    assert again.exit_code == 0, again.output
    assert [other.id for other in store.runs()] == [run.id]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--run", "0123456789abcdef"], "does not exist"),
        (["--run", "x", "--model", "embedded"], "leave --model out"),
        (["--out", "table.txt"], ".csv, .json"),
        (["--evaluation-corpus", "/nowhere.txt"], "'/nowhere.txt' is not a file"),
        (["--evaluation-corpus", "a.txt", "--evaluation-also", "a.txt"], "evaluation.also names"),
        (["--evaluation-seqlen", "4"], "seqlen = '4' is not valid"),
    ],
)
def test_bad_input_is_one_sentence(words: list[str], part: str, store: Store) -> None:
    assert part in sentence(CliRunner().invoke(main, ["evaluate", *words]))
