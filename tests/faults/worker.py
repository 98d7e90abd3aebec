"""`sizer worker` with a saboteur in its process: it dies at a named point, or its clock jumps, when it is told to.

Everything else is the worker's own. What to do is read from the file that FAULTS_ORDERS names, as soon as it is there:

    crash POINT NUMBER    SIGKILL when the point is reached for the NUMBERth time from now on (then the file is removed)
    clock SECONDS         the wall clock is that much ahead (negative: behind)
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any

from app.cli import main
from app.stream import partitions, task
from app.stream.producers import Producers
from app.stream.store import LocalTable
from app.stream.task import PartitionTask
from tests.faults.inside import answer_questions, remember_apps

_DURING_SECONDS = 0.004
_real_time, _real_time_ns = time.time, time.time_ns

POINTS = (
    *("fence:before", "fence:after", "restore:after", "open:after"),
    *("begin:before", "begin:after", "outputs:after", "rows:before", "rows:after"),
    *("commit:before", "commit:during", "commit:after", "local:before", "local:after", "transaction:after"),
)
"""Each effect of taking over a partition and of a commit, before and after it. There are three local tables, so
`local:before` and `local:after` are reached three times in a transaction."""


class Orders:
    """What the file says."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stamp = 0
        self._words: list[str] = []
        self._left = 0
        # Reentrant: the garbage collector may run under it, asyncio tell of a task, and logging ask for the time.
        self._lock = threading.RLock()

    def reach(self, point: str) -> None:
        """Die, if this is where."""
        with self._lock:
            self._read()
            if self._words[:2] != ["crash", point]:
                return
            self._left -= 1
            if self._left > 0:
                return
            self._file.unlink()
        if point == "commit:during":
            # The commit goes on in this thread while another one ends the process in the middle of it.
            threading.Timer(_DURING_SECONDS, _die).start()
        else:
            _die()

    def ahead(self) -> float:
        """Return how many seconds the clock is ahead."""
        with self._lock:
            self._read()
        return float(self._words[1]) if self._words[:1] == ["clock"] else 0.0

    def _read(self) -> None:
        try:
            stamp = self._file.stat().st_mtime_ns
        except FileNotFoundError:
            self._stamp, self._words = 0, []
            return
        if stamp != self._stamp:
            self._stamp = stamp
            self._words = self._file.read_text().split()
            self._left = int(self._words[2]) if self._words[:1] == ["crash"] else 0


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sabotage(orders: Orders) -> None:
    """Put the points into the worker's classes, and the clock into Python."""

    def watch(owner: Any, method: str, name: str, *, after: bool = True, before: bool = True) -> None:
        original: Callable[..., Any] = getattr(owner, method)

        @wraps(original)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if before:
                orders.reach(f"{name}:before")
            result = original(*args, **kwargs)
            if after:
                orders.reach(f"{name}:after")
            return result

        setattr(owner, method, watched)

    watch(Producers, "fence", "fence")
    watch(partitions, "restore", "restore", before=False)
    watch(partitions.Partitions, "_open", "open", before=False)
    watch(Producers, "begin", "begin")
    watch(PartitionTask, "_process", "outputs", before=False)
    watch(PartitionTask, "_produce_rows", "rows")
    watch(PartitionTask, "_commit", "transaction", before=False)
    watch(LocalTable, "write", "local")
    watch(Producers, "commit", "commit")
    commit = Producers.commit

    def commit_while_dying(self: Producers) -> Mapping[str, int]:
        orders.reach("commit:during")
        return commit(self)

    task.Producers.commit = commit_while_dying  # type: ignore[method-assign]  # so that any moment of it can be the last
    time.time = lambda: _real_time() + orders.ahead()
    time.time_ns = lambda: _real_time_ns() + int(orders.ahead() * 1e9)


if __name__ == "__main__":
    sabotage(Orders(Path(os.environ["FAULTS_ORDERS"])))
    remember_apps()
    answer_questions(Path(os.environ["FAULTS_QUESTION"]))
    main()
