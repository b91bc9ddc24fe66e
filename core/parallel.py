"""The same work on many things: several at once, each on one of torch's threads."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from core.lazy import torch

Item = TypeVar("Item")
Found = TypeVar("Found")


def each_on_one_thread(work: Callable[[Item], Found], items: Iterable[Item]) -> Generator[Found, None, None]:
    """``work(item)`` of every item, as they finish; as many at once as torch has threads, and no more taken from ``items``.

    For what torch's threads share badly, such as eigenvalues. On a busy machine, where threads that share one piece of work wait
    for whichever was interrupted, it loses far less. Closed early, it first finishes what is under way. Until it ends, torch
    has one thread here too, since threads that wait for more work to share would take the processor from the others.
    """
    threads, left = torch.get_num_threads(), iter(items)
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            under_way: set[Future[Found]] = {pool.submit(work, item) for item in islice(left, threads)}
            while under_way:
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                under_way |= {pool.submit(work, item) for item in islice(left, len(done))}
                for each in done:
                    yield each.result()
    finally:
        torch.set_num_threads(threads)
