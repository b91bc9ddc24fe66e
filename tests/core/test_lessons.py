"""The small examples of the Learn page: what they show is what the theory says, and what the real code computes."""

import math

import numpy as np
import pytest
import torch

from core.errors import InputError
from core.lessons.compensation import compensation
from core.lessons.example import TOKENS, dice, small_inputs, small_weights, statistics_of
from core.lessons.groups import reallocated
from core.lessons.outliers import outliers
from core.lessons.rank import ranks, structured_weight
from core.lessons.shares import shares
from core.lessons.surprise import SENTENCE, VOCABULARY, surprise
from core.lessons.survivors import errors_by_likeness, update
from core.lessons.swaps import small_mlp, swaps
from core.lessons.tails import allocation_of, alphas_at, fitted_alphas, hill_curve, made_up_model
from core.methods.clearcut import ClearCut
from core.methods.magnitude import Magnitude
from core.methods.ria import RI, RIA
from core.methods.wanda import Wanda
from core.patterns import NM, Unstructured
from core.stages.barber import Barber
from core.stages.base import Refined

SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
def test_small_weights_have_one_decimal_and_no_two_sizes_alike(seed):
    weight = small_weights(4, 8, dice(seed))
    assert sorted(round(10 * size) for size in weight.abs().flatten().tolist()) == list(range(1, 33))
    assert torch.equal(weight, small_weights(4, 8, dice(seed)))


def test_small_inputs_have_the_norms_and_cosines_they_are_asked_for():
    norms, loadings = torch.tensor([1.0, 2, 3, 0.5]), torch.tensor([1.0, -0.5, 0.25, 1])
    inputs = small_inputs(norms, 0.6, dice(0), loadings)
    assert inputs.shape == (TOKENS, 4)
    torch.testing.assert_close(statistics_of(inputs)["norm"], norms)
    directions = inputs / inputs.norm(dim=0)
    expected = 0.6 * loadings[:, None] * loadings
    expected.fill_diagonal_(1)
    torch.testing.assert_close(directions.T @ directions, expected, atol=1e-5, rtol=0)
    apart = small_inputs(norms, 0.0, dice(0))
    torch.testing.assert_close(apart.T @ apart, norms.square().diag(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_wanda_is_magnitude_where_all_inputs_are_equally_loud(seed):
    lesson = outliers(seed, 1.0, 0.5)
    assert np.array_equal(lesson.magnitude.keep, lesson.wanda.keep)
    assert lesson.magnitude.error == pytest.approx(lesson.wanda.error)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_louder_an_input_the_more_of_it_wanda_keeps(seed):
    lessons = [outliers(seed, loudness, 0.5) for loudness in (1.0, 2.0, 4.0, 40.0)]
    loud = lessons[0].loud
    kept = [int(lesson.wanda.keep[:, loud].sum()) for lesson in lessons]
    assert kept == sorted(kept)
    assert kept[-1] == 4
    assert all(np.array_equal(lesson.magnitude.keep, lessons[0].magnitude.keep) for lesson in lessons)
    assert lessons[-1].wanda.error < lessons[-1].magnitude.error
    for lesson in lessons:
        np.testing.assert_allclose(lesson.wanda.scores, np.abs(lesson.weight) * lesson.norms, rtol=1e-5)


def test_the_output_error_is_that_of_the_output():
    """With uncorrelated inputs it is the pruned weights' share, each times its norm, in squares."""
    lesson = outliers(3, 5.0, 0.5)
    for one in (lesson.magnitude, lesson.wanda):
        squares = (lesson.weight * lesson.norms) ** 2
        assert one.error == pytest.approx(math.sqrt(squares[~one.keep].sum() / squares.sum()), rel=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_rescaling_leaves_the_layer_and_its_column_shares_but_not_magnitude(seed):
    plain, scaled = shares(seed, RI(), 1.0, 0.5), shares(seed, RI(), 20.0, 0.5)
    column = plain.rescaled
    np.testing.assert_allclose(plain.weight * plain.norms, scaled.weight * scaled.norms, rtol=1e-4)
    of_column = [np.abs(one.weight[:, column]) / one.column_sums[column] for one in (plain, scaled)]
    np.testing.assert_allclose(*of_column, rtol=1e-5)
    assert not scaled.magnitude.keep[:, column].any()
    assert scaled.relative.keep[:, column].any()
    assert (scaled.relative.scores[:, column] >= of_column[0] - 1e-6).all()


@pytest.mark.parametrize("method", [RI(), RIA(power=0.3), ClearCut(power=0.7, interaction=2.0)])
def test_shown_sums_make_the_scores(method):
    lesson = shares(1, method, 3.0, 0.5)
    weight = np.abs(lesson.weight)
    by_column, by_row = weight / lesson.column_sums, weight / lesson.row_sums[:, None]
    score = by_column + by_row + getattr(method, "interaction", 0.0) * by_column * by_row
    np.testing.assert_allclose(lesson.relative.scores, score * lesson.norms ** getattr(method, "power", 0.0), rtol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("pattern", [NM(), NM(n=1, m=4), NM(n=1, m=2)])
def test_reallocation_never_loses_and_never_beats_the_free_choice(seed, pattern):
    snake, lsa = (reallocated(seed, 4.0, pattern, refined) for refined in (False, True))
    assert snake.retained_plain <= snake.retained <= lsa.retained + 1e-6 <= lsa.retained_free + 2e-6
    for lesson in (snake, lsa):
        assert sorted(lesson.permutation) == list(range(8))
        groups = lesson.keep[:, lesson.permutation].reshape(-1, pattern.m)
        assert (groups.sum(axis=1) == pattern.n).all()
        assert lesson.retained == pytest.approx(float(lesson.scores[lesson.keep].sum()), rel=1e-5)
        assert lesson.retained_plain == pytest.approx(float(lesson.scores[lesson.plain].sum()), rel=1e-5)


@pytest.mark.parametrize("pattern", [NM(), Unstructured()])
def test_compensation_helps_the_more_the_inputs_are_alike(pattern):
    apart, alike = compensation(0, 0.0, pattern, 0.5), compensation(0, 0.95, pattern, 0.5)
    np.testing.assert_allclose(apart.errors, apart.uncompensated, rtol=1e-4)
    assert alike.errors[-1] < alike.uncompensated[-1]
    assert len(alike.errors) == len(alike.steps) + 1 == 9
    assert alike.errors[0] == 0
    assert list(alike.errors) == sorted(alike.errors)  # every column's error is paid once and never taken back
    assert np.allclose(apart.correlation, np.eye(8), atol=1e-5)


def test_hills_estimate_at_every_threshold():
    _, spectra = made_up_model(0)
    values = spectra["blocks.2.weight"]
    curve = hill_curve(values, (128, 192))
    for share in (0.02, 0.25, 0.5, 1.0):
        tail = curve.tail(share)
        above = np.sort(values[values > 0])[-tail.size :]
        assert tail.alpha == pytest.approx(1 + tail.size / np.log(above / above[0]).sum())
        assert tail.size == max(round(share * len(values)), 2)
        assert alphas_at({"one": values}, share)["one"] == pytest.approx(tail.alpha)
    assert set(curve.fits) == {"peak", "peak_corrected", "median", "ks"}
    assert curve.fits["ks"].distance == pytest.approx(curve.distances[curve.alphas > 1].min())


@pytest.mark.parametrize("seed", SEEDS)
def test_later_made_up_blocks_have_heavier_tails_and_lose_less(seed):
    profile, spectra = made_up_model(seed)
    alphas = alphas_at(spectra, 0.25)
    values = [alpha for alpha in alphas.values() if alpha is not None]
    assert values == sorted(values, reverse=True)
    sparsities = list(allocation_of(profile, alphas, 0.3, 0.7).values())
    assert sparsities == sorted(sparsities, reverse=True)
    assert sum(sparsities) / len(sparsities) == pytest.approx(0.7)
    assert list(allocation_of(profile, alphas, 0.0, 0.7).values()) == pytest.approx([0.7] * 6)


def test_spectra_without_a_tail():
    zero, same = np.zeros(8), np.ones(8)
    assert alphas_at({"zero": zero, "same": same}, 0.5) == {"zero": None, "same": None}
    assert fitted_alphas({"zero": zero, "same": same}) == {"zero": None, "same": None}
    for values in (zero, same):
        with pytest.raises(InputError, match="no tail can be fitted"):
            hill_curve(values, (8, 8))


@pytest.mark.parametrize("granularity", ["block", "layer", "output1"])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_swaps_of_the_small_block_are_those_of_the_stage(seed, granularity):
    lesson = swaps(seed, Magnitude(), 0.5, granularity, 0.7)
    group = small_mlp(seed, Magnitude(), 0.5)
    stage = Barber(granularity=granularity, threshold=0.7)
    *_, refined = stage.refine(group, Unstructured(group="output"), {"up": None, "down": None})
    assert isinstance(refined, Refined)
    for name, keep in lesson.keeps[-1].items():
        assert np.array_equal(keep, refined.pruned[name].keep.numpy())
    assert lesson.losses[0] == pytest.approx(refined.report["loss_before"])
    assert lesson.losses[-1] == pytest.approx(refined.report["loss_after"])
    assert len(lesson.losses) == len(lesson.keeps) == len(lesson.done) + 1
    for before, after, pair in zip(lesson.keeps, lesson.keeps[1:], lesson.done, strict=False):
        changed = [(name, *place) for name in before for place in np.argwhere(before[name] != after[name]).tolist()]
        assert sorted(changed) == sorted([tuple(pair.grow), tuple(pair.cut)])


def test_the_blocks_gradient_is_the_slope_of_its_loss():
    """By differences: the loss of one sequence, at the dense weights, moved a little in one of them."""
    group = small_mlp(0, Wanda(), 0.5)
    (_, gradients), *_ = group.gradients()
    row, column = divmod(int(gradients["up"].abs().argmax()), 4)
    pruned = {name: result.weight for name, result in group.pruned.items()}

    def loss(step: float) -> float:
        moved = {name: weight.clone() for name, weight in group.dense.items()}
        moved["up"][row, column] += step
        inputs = small_inputs_of_the_mlp(0)
        outputs = [(inputs @ one["up"].T).relu() @ one["down"].T for one in (moved, pruned)]
        return float((outputs[0].double() - outputs[1].double()).square().mean())

    assert float(gradients["up"][row, column]) == pytest.approx((loss(1e-3) - loss(-1e-3)) / 2e-3, rel=0.02)


def small_inputs_of_the_mlp(seed: int) -> torch.Tensor:
    """The first sequence, drawn as the example draws it."""
    generator = dice(seed)
    small_weights(6, 4, generator)
    small_weights(4, 6, generator)
    norms = 8 * (1 + 3 * torch.rand(4, generator=generator))
    return small_inputs(norms, 0.5, generator).chunk(4)[0]


@pytest.mark.parametrize("shape", [(6, 6), (4, 9)])
def test_the_error_of_a_rank_is_what_its_singular_values_leave(shape):
    lesson = ranks(0, shape, 0.6, 2)
    singular = np.linalg.svd(lesson.weight.astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(lesson.singular, singular, rtol=1e-4)
    np.testing.assert_allclose(singular[1:] / singular[:-1], 0.6, rtol=1e-3)
    np.testing.assert_allclose(lesson.product, lesson.left @ lesson.right, rtol=1e-5)
    for one in lesson.ranks:
        rest = np.linalg.norm(singular[one.rank :]) / np.linalg.norm(singular)
        assert one.error == pytest.approx(rest, abs=1e-5)
        assert one.energy == pytest.approx(1 - rest**2, abs=1e-5)
        assert one.parameters == one.rank * sum(shape)
        assert (one.parameters < math.prod(shape)) == (one.rank < lesson.break_even) == (one.sparse_error is not None)


def test_the_sparse_rival_keeps_the_largest_weights():
    lesson = ranks(1, (6, 6), 0.8, 1)
    sizes = np.sort(np.abs(lesson.weight).flatten())
    lost = np.linalg.norm(sizes[:-24]) / np.linalg.norm(sizes)
    assert lesson.ranks[1].sparse_error == pytest.approx(lost, rel=1e-4)
    assert float(structured_weight(1, (6, 6), 0.8).square().mean()) == pytest.approx(1.0)


def test_perplexity_is_the_number_of_choices():
    nothing = surprise(0, 0.0, 0.0)
    assert nothing.perplexity == pytest.approx(len(VOCABULARY))
    assert np.allclose(nothing.probabilities, 1 / len(VOCABULARY))
    some = surprise(0, 3.0, 1.0)
    words = [VOCABULARY.index(word) for word in SENTENCE[1:]]
    right = np.array([some.probabilities[word, place] for place, word in enumerate(words)])
    np.testing.assert_allclose(some.losses, -np.log(right), rtol=1e-4)
    assert some.perplexity == pytest.approx(float(np.prod(right) ** (-1 / len(right))), rel=1e-4)
    np.testing.assert_allclose(some.probabilities.sum(axis=0), 1, rtol=1e-5)
    assert surprise(0, 3.0, 1.0, misled=5.0).losses[5] > some.losses[5]


# The survivors ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("correlation", [0.3, 0.8, 0.95])
def test_the_best_survivors_are_those_of_least_squares(seed, correlation):
    """Solved once more row by row, on inputs made anew from the same dice."""
    lesson = update(seed, correlation, 0.5)
    generator = dice(seed)
    weight = small_weights(4, 8, generator)
    loadings = 0.4 + 0.6 * torch.rand(8, generator=generator)
    loadings[torch.randperm(8, generator=generator)[:2]] *= -1
    x = small_inputs(torch.ones(8), correlation, generator, loadings).double().numpy()
    assert np.array_equal(lesson.weight, weight.numpy())
    assert (lesson.keep.sum(axis=1) == 4).all()
    best = np.zeros((4, 8))
    for row, keep in enumerate(lesson.keep):
        best[row, keep] = np.linalg.lstsq(x[:, keep], x @ weight[row].double().numpy(), rcond=None)[0]
    np.testing.assert_allclose(lesson.best.weight, best, atol=0.03)  # of weights up to 3
    lowest = np.linalg.norm(x @ (lesson.weight - best).T) / np.linalg.norm(x @ lesson.weight.T)
    assert lowest <= lesson.best.error * (1 + 1e-6) <= 1.0005 * lowest
    for one in lesson.each:
        assert (one.weight[~lesson.keep] == 0).all()
        lost = np.linalg.norm(x @ (lesson.weight - one.weight).T) / np.linalg.norm(x @ lesson.weight.T)
        assert one.error == pytest.approx(lost, rel=1e-3)
    assert lesson.best.error <= 1.0001 * lesson.swept.error
    assert lesson.best.error < 0.99 * lesson.left_alone.error


@pytest.mark.parametrize("seed", SEEDS)
def test_inputs_with_nothing_in_common_make_up_for_nothing(seed):
    alone, swept, best = errors_by_likeness(seed, 0.5, (0.0, 0.95))
    assert swept[0] == pytest.approx(alone[0], rel=1e-3)
    assert best[0] == pytest.approx(alone[0], rel=1e-3)
    assert best[1] < swept[1] < alone[1]
