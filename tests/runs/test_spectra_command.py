"""``python -m core spectra`` and ``allocate``: their table, its files, and what it refuses."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from transformers import AutoModelForCausalLM

from core.allocation.alpha_pruning import AlphaPruning
from core.api import measure_now, run_config
from core.cli.commands import main
from core.config import Calibration, RunConfig
from core.errors import InputError
from core.events import Event, Progress
from core.execution import drain
from core.measured import measured_values
from core.measurements.allocation import AllocationBasis
from core.measurements.spectra import Spectra
from core.measuring import measure
from core.models.sources import ModelSource, parse_source
from core.settings import Settings
from core.spectra import eigenvalues, fit_tail
from core.spectra.hill import FITS
from core.stages.low_rank import LowRank
from core.store import Store
from tests.runs.material import sentence

Configs = Callable[..., RunConfig]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_the_table_holds_every_module(tiny_folder: Callable[..., Path], tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"spectra{suffix}"
    words = ["spectra", "--model", str(tiny_folder()), "--fit", "median", "--out", str(file)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(file) if suffix == ".csv" else pd.read_parquet(file)
    assert list(table.columns[:3]) == ["module", "block", "label"]
    assert {"alpha", "D", "alpha_error", "stable_rank", "mp_softrank"} <= set(table.columns)
    assert len(table) == 14
    weights = AutoModelForCausalLM.from_pretrained(tiny_folder()).state_dict()
    for row in table.itertuples():
        tail = fit_tail(eigenvalues(weights[f"{row.module}.weight"]), "median")
        assert (row.alpha, row.D) == (pytest.approx(tail.alpha), pytest.approx(tail.distance))
        assert row.module in result.stdout
        assert "Fewer than 50 eigenvalues" in row.note


@pytest.mark.parametrize("out", ["spectra.txt", "nowhere/spectra.csv"])
def test_a_file_it_cannot_write_is_refused_first(tiny_folder: Callable[..., Path], tmp_path: Path, out: str) -> None:
    result = CliRunner().invoke(main, ["spectra", "--model", str(tiny_folder()), "--out", str(tmp_path / out)])
    message = sentence(result)
    assert str(tmp_path / out) in message
    assert ".parquet" in message


def test_spectra_are_measured_once(
    tiny_folder: Callable[..., Path], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["spectra", "--model", str(tiny_folder())]
    first = CliRunner().invoke(main, words)
    assert first.exit_code == 0, first.output
    monkeypatch.setattr(ModelSource, "load", lambda source: pytest.fail("the model was loaded again"))
    assert CliRunner().invoke(main, words).stdout == first.stdout


def test_a_runs_spectra_are_those_of_its_weights(config: Configs, store: Store, tmp_path: Path) -> None:
    loaded, run = run_config(config(method="sparsegpt"), store)
    file = tmp_path / "spectra.csv"
    result = CliRunner().invoke(main, ["spectra", "--run", run.id, "--fit", "ks", "--out", str(file)])
    assert result.exit_code == 0, result.output
    table = pd.read_csv(file).set_index("module")
    for name, weight in loaded.model.state_dict().items():
        if (module := name.removesuffix(".weight")) in table.index:
            assert table.loc[module, "norm"] == pytest.approx(float(weight.detach().double().square().sum()), rel=1e-9)
    assert len(table) == 14
    spectra = Spectra.of_run(run)
    assert spectra.known(store)
    store.delete(run.id)
    assert not spectra.known(store)


def test_spectra_of_factors_are_their_products(config: Configs, store: Store) -> None:
    wanted = config(sparsity=0.0).model_copy(update={"stages": (LowRank(rank_ratio=0.25),)})
    loaded, run = run_config(wanted, store)
    measure_now(Spectra.of_run(run), store)
    found = Spectra.of_run(run).read(store)
    assert len(found) == 14
    q = loaded.model.model.layers[0].self_attn.q_proj
    product = (q.left.weight.double() @ q.right.weight.double()).detach()
    values = found["model.layers.0.self_attn.q_proj"]
    expected = torch.linalg.svdvals(product).square().flip(0)
    assert values.tolist() == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-6 * float(expected.max()))


def test_comparison_with_other_laws(tiny_folder: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "spectra.csv"
    words = ["spectra", "--model", str(tiny_folder()), "--compare", "--randomised", "--out", str(file)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(file)
    for law in ("lognormal", "exponential", "truncated_power_law"):
        assert table[f"p_{law}"].dropna().between(0, 1).all()
    assert table.p_exponential.notna().any()


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_allocate_writes_what_prune_reads(
    tiny_folder: Callable[..., Path], texts: dict[str, Path], tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"sparsities{suffix}"
    text = [
        "--calibration-corpus",
        str(texts["calibration"]),
        "--calibration-windows",
        "2",
        "--calibration-seqlen",
        "16",
    ]
    common = ["--model", str(tiny_folder()), "--sparsity", "0.6", *text]
    result = CliRunner().invoke(main, ["allocate", *common, "--allocation", "owl", "--out", str(file)])
    assert result.exit_code == 0, result.output
    assert "Mean, weighted by parameters: 0.600000" in result.stdout
    if suffix == ".parquet":
        assert list(pd.read_parquet(file).columns[:2]) == ["module", "block"]
        return
    again = CliRunner().invoke(
        main, ["allocate", *common, "--allocation", "manual", "--allocation-values", str(file), "--no-allocation-scale"]
    )
    assert again.exit_code == 0, again.output
    assert _blocks(again.stdout) == _blocks(result.stdout)


def _blocks(printed: str) -> dict[str, str]:
    """Sparsity by block, as it was printed."""
    rows = [line.split() for line in printed.splitlines()]
    return {row[0]: row[1] for row in rows if row and row[0].isdecimal()}


def test_the_spectra_hold_what_alpha_pruning_measures(tiny_folder: Callable[..., Path], store: Store) -> None:
    model = parse_source(str(tiny_folder()))
    dense = Spectra(model=model, revision=model.revision_key())
    for spectra in (dense, dense.shuffled):
        measure_now(spectra, store)
    loaded = model.load().model
    for metric in get_args(AlphaPruning.model_fields["metric"].annotation):
        for fit, bound in FITS.values():
            allocation = AlphaPruning(metric=metric, fit=fit, bound=bound)
            basis = AllocationBasis.of(
                RunConfig(model=model, allocation=allocation, calibration=Calibration(seqlen=16))
            )
            known = measured_values(basis.config, basis.identity, store)
            steps = measure(loaded, basis.config, torch.empty(0, 16, dtype=torch.long))
            assert known == pytest.approx(drain(steps, lambda event: None), rel=1e-12)


@pytest.mark.parametrize("randomised", [False, True])
def test_stopped_spectra_go_on_where_they_stopped(
    tiny_folder: Callable[..., Path], tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch, randomised: bool
) -> None:
    model = parse_source(str(tiny_folder()))
    spectra = Spectra(model=model, revision=model.revision_key(), randomised=randomised)

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure_now(spectra, store, stop)
    assert not spectra.known(store)
    asked: list[str] = []
    once = Spectra._spectrum
    monkeypatch.setattr(
        Spectra, "_spectrum", lambda self, each, plain: (asked.append(each.module), once(self, each, plain))[1]
    )
    measure_now(spectra, store)
    table, values = spectra.table(store, "peak"), spectra.read(store)
    assert len(asked) == len(table) - 5
    assert store.module_spectra(spectra.id) == {}

    whole = Store.open(Settings(home=tmp_path / "another"))
    measure_now(spectra, whole)
    pd.testing.assert_frame_equal(table, spectra.table(whole, "peak"))
    assert all(np.array_equal(values[name], found) for name, found in spectra.read(whole).items())


def test_shuffled_spectra_take_the_plain_ones_from_the_store(
    tiny_folder: Callable[..., Path], tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = parse_source(str(tiny_folder()))
    dense = Spectra(model=model, revision=model.revision_key())
    alone = Store.open(Settings(home=tmp_path / "another"))
    measure_now(dense.shuffled, alone)
    measure_now(dense, store)
    monkeypatch.setattr(
        "core.spectra.esd.eigenvalues", None
    )  # those of the plain matrices; the shuffled have their own
    measure_now(dense.shuffled, store)
    pd.testing.assert_frame_equal(dense.shuffled.table(store, "peak"), dense.shuffled.table(alone, "peak"))


def test_values_that_cannot_be_read_are_one_sentence(tiny_folder: Callable[..., Path]) -> None:
    words = ["allocate", "--model", str(tiny_folder()), "--allocation", "manual", "--allocation-values", "/nowhere.csv"]
    message = sentence(CliRunner().invoke(main, words))
    assert message.startswith("--allocation-values = '/nowhere.csv' cannot be read")


def test_spectra_of_what_has_changed_are_refused(own_folder: Path, store: Store) -> None:
    model = parse_source(str(own_folder))
    spectra = Spectra(model=model, revision=model.revision_key())
    (own_folder / "config.json").write_text((own_folder / "config.json").read_text() + "\n")
    with pytest.raises(InputError, match="has changed since"):
        measure_now(spectra, store)
    record = store.measurement(spectra.id)
    assert record is not None
    assert record.attempt.status == "failed"
    assert not spectra.known(store)


def test_comparing_what_does_not_go_together_is_one_sentence() -> None:
    words = ["compare", "--sparsity", "2:4", "--method", "wanda", "--allocation", "owl"]
    assert sentence(CliRunner().invoke(main, words)).startswith("Nothing of this goes together")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--run", "0123456789abcdef"], "does not exist"),
        (["--run", "x", "--model", "embedded"], "leave --model out"),
        (["--run", "x", "--dtype", "bfloat16"], "leave --dtype out"),
    ],
)
def test_a_run_that_has_no_spectra_is_one_sentence(words: list[str], part: str) -> None:
    assert part in sentence(CliRunner().invoke(main, ["spectra", *words]))
