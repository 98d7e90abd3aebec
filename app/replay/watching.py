"""How far a long run is: a bar on a terminal, plain lines when standard error goes elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.replay import replaying

_LINE_SECONDS = 10.0


@contextmanager
def watched(what: str) -> Iterator[replaying.Progress]:
    """Give the function that is told of records read."""
    console = Console(stderr=True)
    if console.is_terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[records]:,} records"))
        speed = TextColumn("{task.fields[speed]:,.0f}/s")
        with Progress(*columns, speed, TimeElapsedColumn(), console=console, transient=True) as bar:
            yield _Bar(bar, what)
        return
    lines = _Lines(what)
    yield lines
    lines.say()


class _Bar:
    def __init__(self, bar: Progress, what: str) -> None:
        self._bar = bar
        self._task = bar.add_task(what, total=None, records=0, speed=0.0)
        self._records = 0
        self._began = time.monotonic()

    def __call__(self, count: int) -> None:
        self._records += count
        speed = self._records / max(time.monotonic() - self._began, 1e-3)
        self._bar.update(self._task, records=self._records, speed=speed)


class _Lines:
    def __init__(self, what: str) -> None:
        self._what = what
        self._records = 0
        self._began = self._said_at = time.monotonic()

    def __call__(self, count: int) -> None:
        self._records += count
        if time.monotonic() - self._said_at >= _LINE_SECONDS:
            self._said_at = time.monotonic()
            self.say()

    def say(self) -> None:
        seconds = time.monotonic() - self._began
        print(f"{self._what}: {self._records:,} records in {seconds:.0f} s", file=sys.stderr, flush=True)
