"""Work on several things at once: what is done, how much of it at a time, and that torch's threads come back."""

import time
from collections.abc import Iterator
from threading import Lock

import pytest
import torch

from core.parallel import each_on_one_thread


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(threads)


def test_everything_is_done_once_by_as_many_as_there_are_threads() -> None:
    taken, lock = {"now": 0, "most": 0}, Lock()

    def items() -> Iterator[int]:
        for item in range(20):
            with lock:
                taken["now"] += 1
                taken["most"] = max(taken["most"], taken["now"])
            yield item

    def work(item: int) -> tuple[int, int]:
        time.sleep(0.005 * (item % 3))
        with lock:
            taken["now"] -= 1
        return item, torch.get_num_threads()

    found = list(each_on_one_thread(work, items()))
    assert sorted(item for item, _ in found) == [*range(20)]
    assert {threads for _, threads in found} == {1}
    assert taken["most"] == 3
    assert torch.get_num_threads() == 3
    assert list(each_on_one_thread(work, [])) == []


def test_what_fails_ends_it() -> None:
    with pytest.raises(ZeroDivisionError):
        list(each_on_one_thread(lambda item: 1 // item, [1, 0, 2]))
    assert torch.get_num_threads() == 3


def test_closed_early_it_takes_no_more() -> None:
    left = iter(range(1000))
    some = each_on_one_thread(lambda item: item, left)
    next(some)
    some.close()
    assert next(left) <= 6
    assert torch.get_num_threads() == 3
