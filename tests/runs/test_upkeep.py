"""What measurements left beside the runs: all of it is listed, with its size, and can be forgotten."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.api import run_config
from core.config import Evaluation, RunConfig, fingerprints
from core.evaluated import dense_subject
from core.measured import measured_values
from core.measurements.allocation import AllocationBasis
from core.measurements.base import Measurement
from core.measurements.perplexity import PerplexityOn
from core.measurements.spectra import Spectra
from core.store import Run, Store
from core.upkeep import folder_size, forget, kept
from core.worker import run_attempt

Configs = Callable[..., RunConfig]


def names(store: Store) -> list[str]:
    return [one.name for one in kept(store, store.runs())]


def measure(store: Store, measurement: Measurement) -> None:
    attempt, _ = store.submit_measurement(measurement)
    run_attempt(store, attempt.id)


def disk(folder: Path) -> int:
    """Bytes, added up another way."""
    return sum(len(path.read_bytes()) for path in folder.rglob("*") if not path.is_dir())


@pytest.fixture
def run(store: Store, config: Configs) -> Run:
    return run_config(config(), store)[1]


def test_nothing_is_there_before_anything_was_measured(store: Store) -> None:
    assert kept(store, []) == []


def test_a_dense_models_losses_are_listed_once_for_all_its_runs(store: Store, run: Run, config: Configs) -> None:
    run_config(config(sparsity=0.3), store)
    assert run.result is not None
    (one,) = kept(store, store.runs())
    assert one.name == f"Perplexity: {run.config.model.label}, dense, on {run.result.evaluated_on}"
    folder = store.folder(dense_subject(run.config.model, run.identity.model_revision))
    assert one.bytes == disk(folder) > 0
    forget(store, one)
    assert disk(folder) == 0
    assert kept(store, store.runs()) == []
    again = run_config(config(sparsity=0.4), store)[1]
    assert again.result is not None
    assert again.result.dense_perplexity == run.result.dense_perplexity
    assert len(kept(store, store.runs())) == 1


def test_what_an_allocation_rests_on_is_listed_and_measured_again_after_it_was_forgotten(
    store: Store, config: Configs
) -> None:
    owl = RunConfig.model_validate(config().model_dump(mode="json") | {"allocation": "owl"})
    run = run_config(owl, store)[1]
    one = next(one for one in kept(store, store.runs()) if one.facts)
    assert one.name == f"{run.config.allocation.title}: {run.config.model.label}"
    before = measured_values(run.config, run.identity, store)
    assert before
    assert one.bytes > 8 * len(before)
    forget(store, one)
    assert measured_values(run.config, run.identity, store) is None
    measure(store, AllocationBasis.of(run.config))
    assert measured_values(run.config, run.identity, store) == before
    (asked,) = [one for one in kept(store, store.runs()) if one.facts]
    assert asked.measurement is not None, "what was asked for by itself is listed once, as that"
    forget(store, asked)
    assert measured_values(run.config, run.identity, store) is None
    assert store.measurements() == []


def test_spectra_are_listed_with_their_size_and_forgotten(store: Store, run: Run) -> None:
    spectra = Spectra.of_run(run)
    measure(store, spectra)
    one = next(one for one in kept(store, store.runs()) if one.measurement == spectra.id)
    assert (one.name, one.status) == (spectra.label, "finished")
    assert one.bytes == disk(store.folder(spectra.id)) == folder_size(store.folder(spectra.id)) > 0
    forget(store, one)
    assert not spectra.known(store)
    assert not store.folder(spectra.id).exists()
    assert spectra.label not in names(store)


def test_a_text_measured_later_is_forgotten_and_the_runs_own_stays(
    store: Store, run: Run, texts: dict[str, Path]
) -> None:
    own = run.config.evaluation
    later = Evaluation(corpus={"corpus": "text", "path": str(texts["calibration"])}, windows=3, seqlen=own.seqlen)
    both = PerplexityOn.of_run(
        run, evaluation=own.model_copy(update={"also": (later.corpus,)}), fingerprints=(
            run.identity.evaluation_fingerprint, *fingerprints(later)
        ),
    )  # fmt: skip
    measure(store, both)
    one = next(one for one in kept(store, store.runs()) if one.measurement == both.id)
    assert len(one.files) == 1
    forget(store, one)
    assert [found is not None for found in both.found(store)] == [True, False]


def test_a_dense_text_that_was_asked_for_is_listed_once(store: Store, run: Run) -> None:
    same = PerplexityOn.of_dense(
        run.config.model, evaluation=run.config.evaluation, fingerprints=(run.identity.evaluation_fingerprint,)
    )
    measure(store, same)
    (one,) = kept(store, store.runs())
    assert one.measurement == same.id
    assert one.bytes > 0
