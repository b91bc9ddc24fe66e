"""Searches for an allocation: shifts between blocks, and the evolution on costs whose best is known."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.storages import InMemoryStorage
from pydantic import ValidationError

from core.config import Identity, RunConfig
from core.errors import InputError, NotFound
from core.patterns import MixedNM
from core.search import Search
from core.search.mutation import Bounds, Sparsities, block_sizes, by_block, mutated, within
from core.search.records import FILE, SearchRecord, State, Trial, parent_of
from core.search.studies import Studies, known_searches, open_studies
from tests.core.profiles import profile_of

IDENTITY = Identity(model_revision="r", calibration_fingerprint="c", evaluation_fingerprint="e")
SIZES = {0: 100, 1: 100, 2: 300, 3: 100}
# The costs are sum_b w_b s_b^2 / 2 with the mean of all s given: the best has w_b s_b / size_b the same for all (Lagrange).
WEIGHTS = {0: 400.0, 1: 100.0, 2: 300.0, 3: 200.0}


def cost(sparsities: Sparsities) -> float:
    return sum(WEIGHTS[block] * value**2 / 2 for block, value in sparsities.items())


def optimum(target: float) -> Sparsities:
    share = {block: SIZES[block] / WEIGHTS[block] for block in SIZES}
    multiplier = target * sum(SIZES.values()) / sum(SIZES[block] * share[block] for block in SIZES)
    return {block: multiplier * share[block] for block in SIZES}


def mean(sparsities: Sparsities, sizes: dict[int, int]) -> float:
    return sum(sparsities[block] * size for block, size in sizes.items()) / sum(sizes.values())


def evolve(studies: Studies, search: Search, trials: int) -> SearchRecord:
    """Trials of the toy's costs until there are ``trials``; starts from the uniform allocation."""
    study = studies.study(search, IDENTITY, SIZES)
    study.start_from({"Uniform": dict.fromkeys(SIZES, 0.5)})
    while study.record.ended < trials:
        trial = study.ask()
        study.tell(trial.number, cost(trial.sparsities))
    return study.record


def evolve_in(home: Path, search: Search, trials: int) -> SearchRecord:
    with open_studies(home) as studies:
        return evolve(studies, search, trials)


# Shifts ------------------------------------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.integers(1, 10**8), min_size=2, max_size=40),
    wishes=st.lists(st.floats(0, 1), min_size=40, max_size=40),
    low=st.floats(0, 0.4),
    high=st.floats(0.6, 0.95),
    step=st.floats(0.001, 0.9),
    seed=st.integers(0, 2**31),
)
def test_every_shift_keeps_mean_and_bounds(sizes, wishes, low, high, step, seed):
    bounds, by_size = Bounds(low, high), dict(enumerate(sizes))
    rng = np.random.default_rng(seed)
    try:
        parent = within(dict(enumerate(wishes[: len(sizes)])), by_size, 0.5, bounds)
    except InputError:  # no block wishes to lose more than the lowest
        parent = dict.fromkeys(by_size, 0.5)
    assert mean(parent, by_size) == pytest.approx(0.5, abs=1e-9)
    for _ in range(5):
        child = mutated(parent, by_size, bounds, step, rng)
        assert mean(child, by_size) == pytest.approx(0.5, abs=1e-9)
        assert all(low <= value <= high for value in child.values())
        assert max(abs(child[block] - parent[block]) for block in child) <= 3 * step + 1e-12
        assert child != parent
        parent = child


@given(ks=st.lists(st.integers(1, 7), min_size=2, max_size=30), seed=st.integers(0, 2**31))
def test_whole_numbers_stay_whole_and_blocks_of_other_sizes_stay_out_of_it(ks, seed):
    sizes = {block: 64 if block % 3 else 96 for block in range(len(ks))}
    parent = {block: k / 8 for block, k in enumerate(ks)}
    bounds, rng = Bounds(1 / 8, 7 / 8, 1 / 8), np.random.default_rng(seed)
    able = any(
        sizes[a] == sizes[b] and parent[a] < 7 / 8 and parent[b] > 1 / 8 for a in parent for b in parent if a != b
    )
    if not able:
        with pytest.raises(InputError, match="No sparsity can be moved"):
            mutated(parent, sizes, bounds, 0.25, rng)
        return
    child = mutated(parent, sizes, bounds, 0.25, rng)
    assert all((8 * value).is_integer() and 1 <= 8 * value <= 7 for value in child.values())
    for size in (64, 96):
        blocks = [block for block in sizes if sizes[block] == size]
        assert sum(child[block] for block in blocks) == sum(parent[block] for block in blocks)


def test_a_start_outside_the_bounds_is_brought_inside():
    # By hand: above 0.2 the wishes are 0, 0.3, 0.6 (mean 0.3, the target's): the last is clamped to 0.5 (highest 0.7), and
    # what it may not lose goes to the second.
    found = within({0: 0.1, 1: 0.5, 2: 0.8}, {0: 1, 1: 1, 2: 1}, 0.5, Bounds(0.2, 0.7))
    assert found == pytest.approx({0: 0.2, 1: 0.6, 2: 0.7})


def test_blocks_are_taken_by_their_weighted_mean():
    profile = profile_of([(2, 2), (4, 3), (2, 2), (2, 2)], modules_per_block=2)
    names = [module.name for module in profile.modules]
    found = by_block(dict(zip(names, (0.2, 0.6, 0.1, 0.3), strict=True)), profile)
    assert block_sizes(profile) == {0: 16, 1: 8}
    assert found == pytest.approx({0: 0.5, 1: 0.2})
    with pytest.raises(InputError, match="single block"):
        block_sizes(profile_of([(2, 2)], modules_per_block=1))


# The evolution ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offspring", [1, 4])
def test_it_finds_the_best_of_a_known_cost(offspring):
    best = optimum(0.5)
    assert mean(best, SIZES) == pytest.approx(0.5)
    record = evolve(Studies(InMemoryStorage()), Search(offspring=offspring, seed=3), 150)
    found = record.best
    assert found is not None
    assert record.trials[0].sparsities == dict.fromkeys(SIZES, 0.5)
    uniform = cost(record.trials[0].sparsities)
    assert cost(found.sparsities) - cost(best) < 0.01 * (uniform - cost(best))
    assert found.sparsities == pytest.approx(best, abs=0.03)


def test_every_trial_keeps_the_mean_and_none_is_made_twice():
    record = evolve(Studies(InMemoryStorage()), Search(step=0.3, lowest=0.3, highest=0.6), 60)
    for trial in record.trials:
        assert mean(trial.sparsities, SIZES) == pytest.approx(0.5, abs=1e-9)
        assert all(0.3 <= value <= 0.6 for value in trial.sparsities.values())
    assert len({tuple(trial.sparsities.items()) for trial in record.trials}) == 60


def test_a_trial_comes_from_the_best_before_its_brothers_and_sisters(tmp_path):
    def finished(number: int, perplexity: float | None, start: str | None = None) -> Trial:
        state: State = "failed" if perplexity is None else "finished"
        return Trial(number=number, state=state, sparsities={}, perplexity=perplexity, start=start)

    trials = (
        finished(0, 9.0, "Uniform"),
        finished(1, 8.0, "OWL"),
        finished(2, 7.0),  # with two offspring: a generation of 2 and 3, then one of 4 and 5
        finished(3, None),
        finished(4, 6.0),
    )
    for offspring, expected in ((1, [1, 2, 2, 4]), (2, [1, 1, 2, 2]), (3, [1, 1, 1, 4])):
        found = [parent_of(trials[:number], offspring) for number in (2, 3, 4, 5)]
        assert [parent and parent.number for parent in found] == expected, offspring
    assert parent_of((), 1) is None


def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    search = Search(offspring=2, seed=5)
    (tmp_path / "cut").mkdir()
    (tmp_path / "whole").mkdir()
    whole = evolve_in(tmp_path / "whole", search, 12)
    before = evolve_in(tmp_path / "cut", search, 5)
    with open_studies(tmp_path / "cut") as studies:  # stopped in the middle of a trial: never told
        cut = studies.study(search, IDENTITY, SIZES).ask()
    after = evolve_in(tmp_path / "cut", search, 12)
    assert after.trials[:5] == before.trials
    assert after.trials[5].sparsities == cut.sparsities
    assert after.trials == whole.trials
    assert after.id == before.id == whole.id
    assert evolve_in(tmp_path / "cut", search, 3).trials == after.trials
    assert [record.id for record in known_searches(tmp_path / "cut")] == [after.id]


def test_another_search_is_another_study(tmp_path):
    ids = {Search(**how).study(IDENTITY) for how in ({}, {"seed": 1}, {"step": 0.2}, {"base": RunConfig(sparsity=0.6)})}
    ids.add(Search().study(IDENTITY.model_copy(update={"model_revision": "s"})))
    assert len(ids) == 5


def test_failed_trials_are_no_parents_and_a_failed_start_is_tried_again(tmp_path):
    search, uniform = Search(), {"Uniform": dict.fromkeys(SIZES, 0.5)}
    with open_studies(tmp_path) as studies:
        study = studies.study(search, IDENTITY, SIZES)
        study.start_from(uniform)
        assert study.tell(study.ask().number, float("nan")).state == "failed"
        with pytest.raises(InputError, match="no trial to go on from"):
            study.ask()
        study.start_from(uniform)
        again = study.ask()
        assert again.start == "Uniform"
        study.tell(again.number, 3.0)
        assert study.record.best == study.record.trials[again.number]


def test_searches_are_listed_and_forgotten(tmp_path):
    assert known_searches(tmp_path) == []
    assert not (tmp_path / FILE).exists()
    record = evolve_in(tmp_path, Search(), 2)
    with open_studies(tmp_path) as studies:
        assert studies.get(record.id) == record
        studies.delete(record.id)
        assert studies.all() == []
        for call in (studies.get, studies.delete):
            with pytest.raises(NotFound, match="does not exist"):
                call(record.id)


# The config ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"base": RunConfig(pattern="2:4")}, "prunes every block alike"),
        ({"base": RunConfig(sparsity=0.96)}, "is not between lowest"),
        ({"lowest": 0.5}, "is not between lowest"),
        ({"base": RunConfig(pattern=MixedNM()), "step": 0.1}, "set it to 0.125 or more"),
    ],
)
def test_what_cannot_be_searched_is_refused(how, message):
    with pytest.raises(ValidationError, match=message):
        Search(**how)


def test_the_uniform_trial_is_the_uniform_run():
    search = Search(base=RunConfig(allocation="owl"))
    assert search.trial({0: 0.5, 1: 0.5 + 1e-12}) == RunConfig()
    by_hand = search.trial({0: 0.4, 1: 0.6})
    assert by_hand.allocation.name == "manual"
    assert by_hand.allocation.values == {"0": 0.4, "1": 0.6}
