"""How restoring gets on, for the log and for counters: a large state takes minutes, and nobody shall have to guess."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import structlog

_TOLD_SECONDS = 5.0

_log = structlog.get_logger("sizer")


class Restores:
    """What this process has restored so far and what it still has to; may be read and added to by any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._running: set[Progress] = set()
        self.rows = 0
        """Written since the process began; it only grows."""
        self.partitions = 0
        """Restored to the end since the process began; it only grows."""
        self.seconds = 0.0
        """Spent on these partitions, added up; several are restored at the same time."""

    @property
    def remaining(self) -> int:
        """Offsets of changelogs that are still to be read for the partitions at work, by all that is known."""
        with self._lock:
            return sum(progress.remaining for progress in self._running)

    @contextmanager
    def begin(self, partition: int, remaining: int) -> Iterator["Progress"]:
        """Count a partition as being restored as long as the block runs, and as restored if that ends well."""
        progress = Progress(self, partition, remaining)
        with self._lock:
            self._running.add(progress)
        try:
            yield progress
        finally:
            with self._lock:
                self._running.remove(progress)
        with self._lock:
            self.partitions += 1
            self.seconds += progress.seconds
        progress.end()

    def add(self, rows: int) -> None:
        """Count rows that were written."""
        with self._lock:
            self.rows += rows


class Progress:
    """Of one partition. Tells it in the log every few seconds, so that a short restore is not told of."""

    def __init__(self, restores: Restores, partition: int, remaining: int) -> None:
        self.rows = 0
        self.remaining = remaining
        """Offsets still to be read: some are of markers, or were compacted away, and bring no row."""
        self._restores = restores
        self._partition = partition
        self._begun = self._told = time.monotonic()
        self._told_rows = 0
        self._is_told = False

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self._begun

    def advance(self, rows: int, remaining: int) -> None:
        """Take note of rows that were written, or that there were none for a while."""
        self.rows += rows
        self.remaining = remaining
        self._restores.add(rows)
        now = time.monotonic()
        seconds = now - self._told
        if seconds >= _TOLD_SECONDS:
            rate = round((self.rows - self._told_rows) / seconds)
            self._told, self._told_rows, self._is_told = now, self.rows, True
            _log.info("restoring", partition=self._partition, rows=self.rows, rows_per_second=rate, remaining=remaining)

    def end(self) -> None:
        """Tell the end of what was told of."""
        if self._is_told:
            _log.info("restored", partition=self._partition, rows=self.rows, seconds=round(self.seconds, 1))


RESTORES = Restores()
"""Of this process."""
