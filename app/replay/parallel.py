"""Partitions in processes of their own, as many as there are processors; how far they are is told to one place."""

import gc
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from ctypes import Array, c_longlong
from typing import TypeVar

from app.errors import UserError
from app.replay.replaying import Progress

R = TypeVar("R")
Task = Callable[[int, Progress], R]
"""Does a partition. It, and what it returns, goes from process to process: it must be possible to pickle it."""

_LOOK_SECONDS = 0.2
_counters: "Array[c_longlong] | None" = None
"""Of a process of a pool: how many records were read of each partition. Each is written by one process, so no lock is
needed, which one that is killed could hold for ever."""


def each_partition(
    task: Task[R], partitions: Iterable[int], progress: Progress, processes: int | None = None
) -> Iterator[tuple[int, R]]:
    """Do partitions, and yield each one's result as it is ready.

    `processes`: at most so many at a time; None: one for each processor that this process may use.
    Raises UserError if a process was killed, and whatever the task raises.
    """
    numbers = list(partitions)
    count = min(len(numbers), processes or _processors())
    if count <= 1:
        for number in numbers:
            yield number, task(number, progress)
        return
    context = multiprocessing.get_context("spawn")
    counters = context.RawArray(c_longlong, len(numbers))
    with (
        _watched(counters, progress),
        ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(counters,)) as pool,
    ):
        futures = {pool.submit(_run, task, number, place): number for place, number in enumerate(numbers)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool:
            raise UserError(
                "a process that replayed a partition was killed, perhaps for want of memory: use fewer at a time"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _processors() -> int:
    """Return how many processors this process may use; where the system does not tell, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(counters: "Array[c_longlong]") -> None:
    global _counters  # noqa: PLW0603 - a process of a pool has no other place for what it was begun with
    _counters = counters
    # A replay makes next to no cycles, and its rows are many: looking for cycles in them took an eighth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def _run(task: Task[R], number: int, place: int) -> R:
    counters = _counters
    assert counters is not None, "the pool began it"

    def count(records: int) -> None:
        counters[place] += records

    return task(number, count)


@contextmanager
def _watched(counters: "Array[c_longlong]", progress: Progress) -> Iterator[None]:
    """Tell how far the processes are, now and then and at the end."""
    is_over = threading.Event()

    def look() -> None:
        told = 0
        while True:
            is_last = is_over.wait(_LOOK_SECONDS)
            read = sum(counters)
            if read > told:
                progress(read - told)
                told = read
            if is_last:
                return

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()
