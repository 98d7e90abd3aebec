"""Partitions in processes of their own, as many as there are processors; how far they are is told to one place."""

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue
from typing import TypeVar

from app.errors import UserError
from app.replay.replaying import Progress

R = TypeVar("R")
Task = Callable[[int, Progress], R]
"""Does a partition. It, and what it returns, goes from process to process: it must be possible to pickle it."""

_TELL_SECONDS = 0.2
_queue: "SimpleQueue[int | None] | None" = None


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
    queue: SimpleQueue[int | None] = context.SimpleQueue()
    listener = threading.Thread(target=_listen, args=(queue, progress), daemon=True)
    listener.start()
    try:
        with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(queue,)) as pool:
            futures = {pool.submit(_run, task, number): number for number in numbers}
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
    finally:
        queue.put(None)
        listener.join()


def _processors() -> int:
    """Return how many processors this process may use; where the system does not tell, how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(queue: "SimpleQueue[int | None]") -> None:
    global _queue  # noqa: PLW0603 - a process of a pool has no other place for what it was begun with
    _queue = queue
    # A replay makes next to no cycles, and its rows are many: looking for cycles in them took an eighth of the time.
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


def _run(task: Task[R], number: int) -> R:
    assert _queue is not None, "the pool began it"
    teller = _Teller(_queue)
    try:
        return task(number, teller)
    finally:
        teller.tell()


class _Teller:
    """Tells how far it is, not too often."""

    def __init__(self, queue: "SimpleQueue[int | None]") -> None:
        self._queue = queue
        self._count = 0
        self._told_at = time.monotonic()

    def __call__(self, count: int) -> None:
        self._count += count
        if time.monotonic() - self._told_at >= _TELL_SECONDS:
            self.tell()

    def tell(self) -> None:
        self._queue.put(self._count)
        self._count = 0
        self._told_at = time.monotonic()


def _listen(queue: "SimpleQueue[int | None]", progress: Progress) -> None:
    while (count := queue.get()) is not None:
        progress(count)
