"""Spectra: eigenvalues, tails, bulk and metrics, against the authors' programs, plain loops and known laws."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InputError
from core.models.sources import Embedded
from core.spectra import eigenvalues, fit_bulk, fit_tail, metrics, nonzero
from core.spectra.hill import CHOICES, FITS, all_starts, choose, hill
from core.spectra.marchenko_pastur import density, edges
from core.spectra.table import all_figures, figures, spectrum

GOLDEN = Path(__file__).parents[1] / "golden"
TABLE = json.loads((GOLDEN / "spectra.json").read_text())
EMBEDDED = "model.layers.5.self_attn.k_proj.weight"
NAMES = {"median": "xmin_mid", "peak": "xmin_peak", "ks": "None"}


@pytest.fixture(scope="module")
def matrices() -> dict[str, torch.Tensor]:
    with np.load(GOLDEN / "layers.npz") as file:
        first = torch.from_numpy(file["in/W1"])
    return {"W1": first, EMBEDDED: Embedded().load().model.state_dict()[EMBEDDED]}


@pytest.mark.parametrize("name", ["W1", EMBEDDED])
def test_eigenvalues_are_the_references(matrices, name):
    with np.load(GOLDEN / "spectra.npz") as file:
        reference = torch.from_numpy(file[f"esd/{name}/eigs"]).double()
    ours = eigenvalues(matrices[name])
    assert (ours - reference).abs().max() < 1e-6 * reference.max()
    exact = torch.linalg.svdvals(matrices[name].double()).flip(0).square()
    assert (ours - exact).abs().max() < len(ours) * 2.3e-16 * exact.max()


@pytest.mark.parametrize("shape", [(1, 1), (300, 1100), (1100, 300), (129, 129), (7, 2000)])
def test_eigenvalues_computed_piece_by_piece_are_the_squared_singular_values(shape):
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    exact = np.linalg.svd(weight.double().numpy(), compute_uv=False)[::-1] ** 2
    for one in (weight, weight.T):
        ours = eigenvalues(one).numpy()
        assert abs(ours - exact).max() < 2.3e-16 * len(exact) * exact[-1]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_have_no_spectrum(value):
    weight = torch.ones(200, 600)
    weight[150, 599] = value
    for one in (weight, weight.T):
        with pytest.raises(InputError, match="not finite"):
            eigenvalues(one)


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", ["W1", EMBEDDED])
def test_tails_are_the_references(matrices, name, choice):
    tail = fit_tail(nonzero(eigenvalues(matrices[name])), choice)
    reference = TABLE[name][NAMES[choice]]
    assert tail.alpha == pytest.approx(reference["alpha"], abs=1e-4)
    assert tail.distance == pytest.approx(reference["D"], abs=1e-4)


def test_metrics_are_weightwatchers(matrices):
    values = eigenvalues(matrices["W1"])
    tail = fit_tail(values, "ks")
    ours, theirs = metrics(values, tail, None), TABLE["weightwatcher/default"][0]
    for name, value in ours.items():
        assert value == pytest.approx(theirs[name], rel=1e-4), name
    assert set(ours) == {
        *("alpha", "D", "alpha_weighted", "log_alpha_norm", "norm", "log_norm"),
        *("spectral_norm", "log_spectral_norm", "stable_rank", "entropy"),
    }
    assert (tail.size, tail.standard_error) == (theirs["num_pl_spikes"], pytest.approx(theirs["sigma"], rel=1e-6))
    assert tail.xmin == pytest.approx(theirs["xmin"], rel=1e-6)


def test_a_tail_worked_out_by_hand():
    """Of 1, 2, 4, 8 the upper half is 4, 8: alpha = 1 + 2 / (log 4 + log 8 - 2 log 4) = 1 + 2 / log 2."""
    tail = fit_tail(torch.tensor([1.0, 2, 4, 8], dtype=torch.float64), "median")
    assert tail.alpha == pytest.approx(1 + 2 / math.log(2))
    # At 4: |1 - 1 - 0| = 0; at 8: |1 - 2^(1 - alpha) - 1/2| = |1/2 - e^-2|.
    assert tail.distance == pytest.approx(0.5 - math.exp(-2))
    assert (tail.xmin, tail.size) == (4, 2)


def plain_scan(values: list[float]) -> tuple[float, float, int]:
    """The ks fit as a loop over all places where the tail may begin."""
    best = (math.inf, 0.0, 0)
    for i in range(len(values) - 1):
        tail = values[i:]
        spread = sum(math.log(x) for x in tail) - len(tail) * math.log(tail[0])
        if spread <= 0:
            continue
        alpha = 1 + len(tail) / spread
        gap = max(abs(1 - (x / tail[0]) ** (1 - alpha) - j / len(tail)) for j, x in enumerate(tail))
        best = min(best, (gap, alpha, i))
    return best


@given(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=40, unique_by=lambda x: round(math.log(x), 6)))
def test_the_scan_is_the_plain_loops(numbers):
    values = sorted(numbers)
    distance, _, _ = plain_scan(values)
    tail = fit_tail(torch.tensor(values, dtype=torch.float64), "ks")
    assert tail.distance == pytest.approx(distance, rel=1e-9, abs=1e-12)
    assert tail.alpha == pytest.approx(float(hill(torch.tensor(values, dtype=torch.float64))[-tail.size]))


@pytest.mark.parametrize("bound", ["reference", "corrected"])
def test_peak_looks_near_the_fullest_bin(bound):
    values = torch.cat([torch.linspace(10, 10.2, 60), torch.logspace(0, 1, 20), torch.logspace(1.1, 2, 20)])
    values = values.double().sort().values
    tail = fit_tail(values, "peak", bound)
    edge = 10 ** (2 * 0.5)  # the fullest of 100 bins of log10 from 0 to 2 begins at 1
    low = math.log10(0.95 * edge) if bound == "reference" else 0.95 * edge
    assert low <= tail.xmin <= 1.5 * edge


@pytest.mark.parametrize("size", [64, 256, 1024, 4096])
@pytest.mark.parametrize("exponent", [2.0, 3.5])
def test_the_exponent_of_a_pareto_law_is_recovered(size, exponent):
    """By every fit, within two standard errors: median fits half of the sample, the others what they choose of it."""
    within = dict.fromkeys(FITS, 0)
    for seed in range(200):
        uniform = np.random.default_rng(seed).random(size)
        starts = all_starts(torch.from_numpy(np.sort((1 - uniform) ** (-1 / (exponent - 1)))))
        for name, fit in FITS.items():
            tail = choose(starts, *fit)
            within[name] += abs(tail.alpha - exponent) < 2 * tail.standard_error
    assert min(within.values()) >= 170, within


def test_the_bulk_of_a_random_matrix_lies_within_its_edges():
    weight = torch.randn(1024, 4096, generator=torch.Generator().manual_seed(0)) * 0.3
    values = eigenvalues(weight)
    bulk = fit_bulk(values, 1024, 4096)
    assert bulk.variance == pytest.approx(0.09, rel=0.01)
    assert bulk.low == pytest.approx(float(values[0]), rel=0.03)
    assert bulk.high == pytest.approx(float(values[-1]), rel=0.03)
    assert bulk.low == pytest.approx(0.09 * (64 - 32) ** 2, rel=0.03)
    assert bulk.high == pytest.approx(0.09 * (64 + 32) ** 2, rel=0.03)
    assert metrics(values, None, bulk)["mp_softrank"] == pytest.approx(1, rel=0.03)


def test_the_soft_rank_is_weightwatchers(matrices):
    values = eigenvalues(matrices["W1"])
    theirs = TABLE["weightwatcher/mp_fit_randomize"][0]
    bulk = fit_bulk(values, 96, 128)
    assert metrics(values, None, bulk)["mp_softrank"] == pytest.approx(theirs["mp_softrank"], rel=1e-4)
    # Theirs is of eigenvalues scaled to a mean of 1, so of entries of variance sigma^2 / 128.
    assert bulk.variance * 128 / float(values.mean()) == pytest.approx(theirs["sigma_mp"] ** 2, rel=1e-4)


@pytest.mark.parametrize("size", [128, 512])
def test_the_bulk_of_a_square_matrix_begins_at_zero(size):
    weight = torch.randn(size, size, generator=torch.Generator().manual_seed(1)) * 0.3
    bulk = fit_bulk(eigenvalues(weight), size, size)
    assert bulk.low == 0
    assert bulk.high == pytest.approx(4 * 0.09 * size, rel=0.03)


@given(st.floats(1e-6, 1e6), st.integers(3, 40), st.integers(3, 40))
def test_the_bulk_scales_with_the_matrix(scale, rows, columns):
    values = nonzero(eigenvalues(torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows))))
    plain, scaled = (fit_bulk(factor * values, rows, columns) for factor in (1.0, scale))
    assert scaled.high == pytest.approx(scale * plain.high, rel=1e-6)
    assert 0 <= plain.low <= plain.high


@pytest.mark.parametrize("strength", [0.1, 0.75, 1.5, 3.0, 30.0])
def test_spikes_do_not_move_the_bulk(strength):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(256, 1024, generator=generator)
    spike = torch.outer(torch.randn(256, generator=generator), torch.randn(1024, generator=generator))
    spiked = weight + strength * spike
    plain, moved = (fit_bulk(eigenvalues(matrix), 256, 1024) for matrix in (weight, spiked))
    assert moved.high == pytest.approx(plain.high, rel=0.04)
    assert float(eigenvalues(spiked)[-1]) > 1.5 * moved.high


def test_the_density_holds_all_the_mass():
    low, high = edges(64, 256, 0.5)
    x = np.linspace(low, high, 200_001)
    assert np.trapezoid(density(x, 64, 256, 0.5), x) == pytest.approx(1, abs=1e-4)
    assert density(np.array([high * 1.1]), 64, 256, 0.5) == 0


@pytest.mark.parametrize("weight", [torch.zeros(8, 8), torch.eye(8)])
@pytest.mark.parametrize("choice", CHOICES)
def test_what_has_no_tail_says_so(weight, choice):
    with pytest.raises(InputError, match="at least two different eigenvalues"):
        fit_tail(nonzero(eigenvalues(weight)), choice)


def test_equal_eigenvalues_make_no_tail():
    with pytest.raises(InputError, match="fit = median finds no place"):
        fit_tail(torch.tensor([1.0, 2, 2, 2], dtype=torch.float64), "median")


def test_fits_that_share_their_work_give_the_same_figures(matrices):
    weight = matrices["W1"]
    found = all_figures(eigenvalues(weight), *weight.shape)
    assert found == {name: spectrum(weight, *fit) for name, fit in FITS.items()}
    assert {"eigenvalues", "rank", "note", "bulk_low", "bulk_high", "alpha_error", "xmin"} <= set(found["ks"])


@pytest.mark.parametrize(("weight", "note"), [(torch.zeros(8, 8), "is zero"), (torch.eye(8), "none to fit")])
def test_figures_say_why_there_is_no_tail(weight, note):
    for found in all_figures(eigenvalues(weight), 8, 8).values():
        assert note in found["note"]
        assert "alpha" not in found


def test_a_tail_of_few_eigenvalues_is_a_guess(matrices):
    assert figures(eigenvalues(matrices["W1"][:49]), 49, 128)["note"].startswith("Fewer than 50 eigenvalues")


def test_a_zero_matrix_has_no_metrics_and_a_rank_one_matrix_some():
    assert metrics(eigenvalues(torch.zeros(4, 6)), None, None) == {}
    found = metrics(eigenvalues(torch.outer(torch.arange(1.0, 5), torch.ones(6))), None, None)
    assert found["stable_rank"] == pytest.approx(1)
    assert found["entropy"] == pytest.approx(0, abs=1e-12)
    assert found["norm"] == pytest.approx(30 * 6)
