"""Many runs are listed quickly, and what changes of one is seen at once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, insert

from core.config import RunConfig
from core.store import Store
from core.store.tables import AttemptRow, RunRow
from tests.runs.test_store import IDENTITY, config_of, finish, result_of


@contextmanager
def queries(store: Store) -> Iterator[list[str]]:
    """The statements that the store sends to its database."""
    sent: list[str] = []

    def note(connection, cursor, statement, *rest) -> None:
        sent.append(statement)

    event.listen(store._engine, "before_cursor_execute", note)
    yield sent
    event.remove(store._engine, "before_cursor_execute", note)


def reads_content(statement: str) -> bool:
    return "runs.config" in statement


@pytest.fixture(scope="module")
def rows() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """2,000 runs of two attempts each, the first failed; every second one has a result."""
    result = result_of().model_dump(mode="json")
    base = config_of().model_dump(mode="json")
    runs, attempts = [], []
    for seed in range(2000):
        config = RunConfig.model_validate(base | {"calibration": base["calibration"] | {"seed": seed}})
        run_id = IDENTITY.run_id(config)
        runs.append(
            {
                "id": run_id,
                "name": f"run {seed}",
                "config": config.model_dump(mode="json"),
                "identity": IDENTITY.model_dump(mode="json"),
                "created_at": float(seed),
                "result": None if seed % 2 else result,
            }
        )
        attempts += [
            {
                "run_id": run_id,
                "number": number,
                "status": "failed" if number == 1 or seed % 2 else "finished",
                "submitted_at": float(10 * seed + number),
                "heartbeat_at": 0.0,
                "process": '["elsewhere", 1, 1.0]',
            }
            for number in (1, 2)
        ]
    return runs, attempts


@pytest.fixture
def many(store: Store, rows: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> Store:
    with store._sessions.begin() as session:
        session.execute(insert(RunRow), rows[0])
        session.execute(insert(AttemptRow), rows[1])
    return store


def test_a_second_listing_is_one_query_that_reads_no_config(many: Store) -> None:
    first = many.runs()
    with queries(many) as sent:
        second = many.runs()
    assert [reads_content(statement) for statement in sent] == [False]
    assert second == first
    assert [run.name for run in first] == [f"run {seed}" for seed in reversed(range(2000))]
    assert all(run == many.run(run.id) for run in first[::400])


def test_2000_runs_are_listed_in_less_than_100_ms(many: Store) -> None:
    many.runs()
    times = []
    for _ in range(5):
        start = time.process_time()
        many.runs()
        times.append(time.process_time() - start)
    assert min(times) < 0.1, times


def test_only_the_run_that_changed_is_read_again(many: Store) -> None:
    changed = many.runs()[7]
    attempt, _ = many.submit(changed.config, changed.identity)
    with queries(many) as sent:
        assert many.runs()[0].id == changed.id
    assert not any(reads_content(statement) for statement in sent), "a new attempt changes no content"
    many.end(attempt.id, "finished")
    with queries(many) as sent:
        assert many.runs()[0] == many.run(changed.id)
    assert sum(reads_content(statement) for statement in sent) == 2  # one by runs(), one by run()


def test_another_stores_changes_are_seen(store: Store) -> None:
    run_id = finish(store, config_of())
    other = Store.open()
    assert other.runs()[0].result == result_of(20.0)
    store.rename(run_id, "Renamed")
    assert other.runs()[0].name == "Renamed"
    attempt, _ = store.submit(config_of(), IDENTITY)
    assert (other.runs()[0].status, other.runs()[0].attempt.number) == ("queued", 2)
    assert other.runs()[0].result == result_of(20.0)
    store.end(attempt.id, "failed")
    finish(store, config_of(), value=30.0)
    assert other.runs()[0] == store.run(run_id)
    assert other.runs()[0].result == result_of(30.0)
    store.delete(run_id)
    assert other.runs() == []
    finish(store, config_of(), value=40.0)  # the same id, in the database also the same attempt's
    assert other.runs()[0].result == result_of(40.0)
    other.close()


def test_a_run_that_is_asked_for_among_others_is_found_beside_what_is_known(store: Store) -> None:
    ids = [finish(store, config_of(seed)) for seed in range(3)]
    store.runs()
    assert {run.id for run in store.runs(ids[:2])} == set(ids[:2])
    assert [run.id for run in store.runs([ids[1], "0" * 16])] == [ids[1]]
    assert {run.id for run in store.runs()} == set(ids)
