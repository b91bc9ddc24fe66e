"""``python -m core spectra``: its table, its files, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from transformers import AutoModelForCausalLM

from core.cli.commands import main
from core.spectra import eigenvalues, fit_tail
from tests.runs.material import sentence


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
