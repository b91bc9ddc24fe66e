import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from core.errors import InputError, explain
from core.patterns import NM, Pattern, Unstructured

NMS = [(1, 2), (1, 4), (2, 4), (3, 4), (4, 8), (5, 16)]


def groups(scores: torch.Tensor, group: str | int) -> list[list[tuple[int, int]]]:
    """The comparison groups as lists of positions, in index order; a number M means M consecutive inputs."""
    rows, columns = scores.shape
    if isinstance(group, int):
        return [
            [(i, j) for j in range(start, start + group)] for i in range(rows) for start in range(0, columns, group)
        ]
    if group == "layer":
        return [[(i, j) for i in range(rows) for j in range(columns)]]
    if group == "output":
        return [[(i, j) for j in range(columns)] for i in range(rows)]
    return [[(i, j) for i in range(rows)] for j in range(columns)]


def sorted_keep(scores: torch.Tensor, group: str | int, pruned: int | None = None, sparsity: float = 0) -> torch.Tensor:
    """The keep mask by sorting every group by (score, index)."""
    keep, values = np.ones(scores.shape, dtype=bool), scores.numpy()
    for positions in groups(scores, group):
        count = int(len(positions) * sparsity) if pruned is None else pruned
        for position in sorted(positions, key=lambda p: (values[p], p))[:count]:
            keep[position] = False
    return torch.from_numpy(keep)


def tied_scores(columns: st.SearchStrategy[int]) -> st.SearchStrategy[torch.Tensor]:
    """Small integers as floats: many ties, and products with integers stay exact."""
    shapes = st.tuples(st.integers(1, 7), columns)
    elements = st.integers(0, 9).map(float)
    return shapes.flatmap(lambda shape: arrays("float32", shape, elements=elements)).map(torch.from_numpy)


some_scores = tied_scores(st.integers(1, 12))
sparsities = st.floats(0, 1, exclude_max=True) | st.sampled_from([0.1, 0.29, 0.3, 0.5, 0.57, 0.7])
a_group = st.sampled_from(["layer", "output", "input"])


@pytest.mark.parametrize(
    ("group", "keep"),
    [
        ("layer", [[0, 0, 1, 1], [0, 1, 1, 1]]),
        ("output", [[0, 0, 1, 1], [0, 0, 1, 1]]),
        ("input", [[0, 0, 1, 1], [1, 1, 0, 0]]),
    ],
)
def test_three_comparison_groups_by_hand(group, keep):
    scores = torch.tensor([[1.0, 2, 8, 5], [1, 3, 7, 4]])
    sparsity = 0.5 if group != "layer" else 0.375  # three of eight
    assert Unstructured(group=group).keep(scores, sparsity).int().tolist() == keep


@pytest.mark.parametrize(
    ("group", "keep"),
    [("layer", [[0, 0, 0], [0, 1, 1]]), ("output", [[0, 0, 1], [0, 0, 1]]), ("input", [[0, 0, 0], [1, 1, 1]])],
)
def test_of_equal_scores_the_lowest_index_goes_first(group, keep):
    assert Unstructured(group=group).keep(torch.ones(2, 3), 0.7).int().tolist() == keep


@given(some_scores, sparsities, a_group)
def test_unstructured_is_the_sort_by_score_and_index(scores, sparsity, group):
    keep = Unstructured(group=group).keep(scores, sparsity)
    assert torch.equal(keep, sorted_keep(scores, group, sparsity=sparsity))
    for positions in groups(scores, group):
        assert sum(not keep[p] for p in positions) == int(len(positions) * sparsity)


@pytest.mark.parametrize("group", ["layer", "output", "input"])
@pytest.mark.parametrize("sparsity", [0.0, 0.29, 0.5, 0.999])
def test_exact_counts_on_a_large_matrix_with_heavy_ties(group, sparsity):
    scores = torch.randint(0, 5, (48, 100), generator=torch.Generator().manual_seed(0)).float()
    keep = Unstructured(group=group).keep(scores, sparsity)
    pruned = {"layer": (~keep).sum(), "output": (~keep).sum(dim=1), "input": (~keep).sum(dim=0)}[group]
    size = {"layer": 4800, "output": 100, "input": 48}[group]
    assert (pruned == int(size * sparsity)).all()


@pytest.mark.parametrize(("n", "m"), NMS)
def test_exactly_n_of_m_consecutive_inputs_survive(n, m):
    scores = torch.rand(6, 3 * m, generator=torch.Generator().manual_seed(n))
    keep = NM(n=n, m=m).keep(scores, 1 - n / m)
    assert (keep.reshape(6, 3, m).sum(dim=2) == n).all()
    assert (
        scores.reshape(6, 3, m)[keep.reshape(6, 3, m)]
        .reshape(6, 3, n)
        .amin(2)
        .gt(scores.reshape(6, 3, m)[~keep.reshape(6, 3, m)].reshape(6, 3, m - n).amax(2))
        .all()
    )


def test_one_of_four_is_three_quarters_sparse_by_hand():
    scores = torch.tensor([[1.0, 9, 3, 4, 5, 5, 5, 5]])
    assert NM(n=1, m=4).keep(scores, 0.75).int().tolist() == [[0, 1, 0, 0, 0, 0, 0, 1]]
    assert NM(n=3, m=4).keep(scores, 0.25).int().tolist() == [[0, 1, 1, 1, 0, 1, 1, 1]]


@pytest.mark.parametrize(("n", "m"), NMS)
@given(data=st.data())
def test_n_of_m_is_the_sort_within_each_group(n, m, data):
    scores = data.draw(tied_scores(st.integers(1, 3).map(lambda k: k * m)))
    assert torch.equal(NM(n=n, m=m).keep(scores, 1 - n / m), sorted_keep(scores, m, pruned=m - n))


@given(some_scores, sparsities, a_group, st.integers(1, 1000))
def test_a_common_scale_changes_nothing(scores, sparsity, group, scale):
    pattern = Unstructured(group=group)
    assert torch.equal(pattern.keep(scores * scale, sparsity), pattern.keep(scores, sparsity))


@given(tied_scores(st.just(8)), st.integers(1, 1000))
def test_a_common_scale_changes_no_n_of_m_mask(scores, scale):
    assert torch.equal(NM(n=2, m=4).keep(scores * scale, 0.5), NM(n=2, m=4).keep(scores, 0.5))


@given(tied_scores(st.just(8)), st.randoms(use_true_random=False))
@pytest.mark.parametrize("pattern", [Unstructured(group="output"), NM(n=2, m=4)])
def test_rows_that_change_places_take_their_mask_along(pattern, scores, random):
    order = list(range(len(scores)))
    random.shuffle(order)
    assert torch.equal(pattern.keep(scores[order], 0.5), pattern.keep(scores, 0.5)[order])


@given(tied_scores(st.just(8)), st.lists(st.integers(1, 50), min_size=7, max_size=7))
def test_rows_compared_on_their_own_may_be_scaled_on_their_own(scores, scales):
    factors = torch.tensor(scales[: len(scores)])[:, None]
    pattern = Unstructured(group="output")
    assert torch.equal(pattern.keep(scores * factors, 0.3), pattern.keep(scores, 0.3))


def test_keep_leaves_the_scores_alone():
    scores = torch.rand(4, 8)
    before = scores.clone()
    for pattern in (Unstructured(group="layer"), Unstructured(group="input"), NM()):
        pattern.keep(scores, 0.5)
    assert torch.equal(scores, before)


def test_scores_that_are_not_numbers_are_refused():
    """A NaN has no place in any order; a mask with another count than promised would be a silent fallback."""
    scores = torch.tensor([[float("nan"), float("nan"), float("nan"), 2]])
    with pytest.raises(InputError):
        Unstructured(group="output").keep(scores, 0.5)


def test_auto_resolves_to_the_methods_group_and_a_chosen_group_stays():
    assert Unstructured().resolve("input") == Unstructured(group="input")
    assert Unstructured(group="layer").resolve("input") == Unstructured(group="layer")
    assert NM().resolve("layer") == NM()
    with pytest.raises(InputError, match="group = 'auto' has no meaning without a method"):
        Unstructured().keep(torch.ones(2, 2), 0.5)


@pytest.mark.parametrize("sparsity", [-0.1, 1.0, 1.5, float("nan")])
def test_sparsity_outside_its_range_is_refused(sparsity):
    with pytest.raises(InputError, match=r"sparsity = .* is outside \[0, 1\)"):
        Unstructured(group="layer").keep(torch.ones(2, 2), sparsity)


@pytest.mark.parametrize("text", ["4:4", "5:4"])
def test_n_not_below_m_is_refused_in_one_sentence(text):
    with pytest.raises(ValidationError) as caught:
        Pattern.parse(text)
    assert explain(caught.value) == (
        f"pattern = {text} prunes nothing, since N of every M weights survive; choose N < M, such as 2:4."
    )


def test_inputs_that_m_does_not_divide_are_refused_naming_the_module():
    with pytest.raises(
        InputError, match=r"2:4 does not fit model\.layers\.0\.mlp: its 6 inputs are not divisible by 4"
    ):
        NM(n=2, m=4).check("model.layers.0.mlp", (4, 6))
    with pytest.raises(InputError, match="not divisible by 4"):
        NM(n=2, m=4).keep(torch.ones(4, 6), 0.5)
    NM(n=2, m=4).check("model.layers.0.mlp", (6, 4))


def test_a_sparsity_that_contradicts_n_of_m_is_refused():
    with pytest.raises(InputError, match=r"sparsity = 0.5 contradicts 1:4, which is 0.75 sparse"):
        NM(n=1, m=4).keep(torch.ones(2, 4), 0.5)


@pytest.mark.parametrize(("text", "pattern"), [("2:4", NM(n=2, m=4)), (" 5 : 16 ", NM(n=5, m=16))])
def test_a_pattern_is_written_n_colon_m(text, pattern):
    parsed = Pattern.parse(text)
    assert (parsed, parsed.span, parsed.label) == (pattern, pattern.m, f"{pattern.n}:{pattern.m}")
    assert parsed.sparsity == pytest.approx(1 - pattern.n / pattern.m)


def test_unstructured_is_written_by_its_name_and_leaves_the_sparsity_open():
    parsed = Pattern.parse("unstructured")
    assert (parsed, parsed.span, parsed.sparsity) == (Unstructured(), None, None)
