"""`sizer verify` as a command: progress, findings as they come, the verdict and its exit status."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol, TextIO

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from app.errors import UserError
from app.replay.findings import INVARIANTS, Audit, Finding
from app.replay.kafka import Topics
from app.replay.reading import StoppedError, partition_reader
from app.replay.verify import Verification, verify_partitions
from app.settings import Settings

_ROUND_SECONDS = 1.0
_COUNTS_SECONDS = 10.0
_PROVED = 0
_NOT_PROVED = 1


def run_verify(settings: Settings, *, as_json: bool = False) -> int:
    """Audit once, print the verdict and return the exit status. Raises UserError if the topics cannot be read."""
    topics = Topics(settings)
    audit = Audit()
    with _watched(topics.partition_count) as watch:
        for partition, found in enumerate(verify_partitions(topics, watch.read)):
            audit += found
            watch.end(partition, found)
    return _conclude(audit, topics, as_json=as_json)


def run_follow(settings: Settings, grace: float, *, as_json: bool = False) -> int:
    """Audit until SIGINT or SIGTERM: findings as they come, the verdict at the end. Returns the exit status.

    `grace`: seconds that an input may wait for its outcome.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    topics = Topics(settings)
    if not topics.has_state:
        raise UserError(
            f"topic {topics.missing_changelogs[0]} does not exist, and following needs the changelogs: set "
            "SIZER_APP_ID to that of the workers"
        )
    audits = _follow(topics, grace, stop, sys.stderr if as_json else sys.stdout)
    unread = tuple(
        f"partition {partition} was not read to its end: nothing is proved of it"
        for partition in range(topics.partition_count)
        if partition not in audits
    )
    return _conclude(sum(audits.values(), Audit(notes=unread)), topics, as_json=as_json)


def _follow(topics: Topics, grace: float, stop: threading.Event, out: TextIO) -> dict[int, Audit]:
    """Go round the partitions until stopped; return the audits as of each one's last complete round."""
    audits: dict[int, Audit] = {}
    told_at = -_COUNTS_SECONDS
    with ExitStack() as stack:
        readers = [
            stack.enter_context(partition_reader(topics.settings, partition, topics.names, stop.is_set))
            for partition in range(topics.partition_count)
        ]
        verifications = [Verification(topics, partition, reader) for partition, reader in enumerate(readers)]
        while not stop.is_set():
            for partition, verification in enumerate(verifications):
                try:
                    verification.read_on()
                except StoppedError:
                    return audits
                healed = verification.judge_delay(grace)
                known = set(audits[partition].findings) if partition in audits else set()
                audits[partition] = verification.audit()
                news = [finding for finding in audits[partition].findings if finding not in known]
                _say(out, *map(_line, news), *(f"healed: {_line(finding)}" for finding in healed))
            if time.monotonic() - told_at >= _COUNTS_SECONDS:
                told_at = time.monotonic()
                _say(out, _counts(sum(audits.values(), Audit())))
            stop.wait(_ROUND_SECONDS)
    return audits


class _Watch(Protocol):
    """Who is told how far an audit is."""

    def read(self, count: int) -> None:
        """Take note of records read."""

    def end(self, partition: int, audit: Audit) -> None:
        """Take note of a partition audited."""


class _Lines:
    """One plain line for each partition."""

    def read(self, count: int) -> None:
        """Nobody counts with us."""

    def end(self, partition: int, audit: Audit) -> None:
        """Say what was found."""
        _say(sys.stderr, f"partition {partition}: {_counts(audit)}")


class _Bar:
    """A bar of partitions and a running count of records."""

    def __init__(self, progress: Progress, partitions: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=partitions, records=0)
        self._records = 0

    def read(self, count: int) -> None:
        """Count on."""
        self._records += count
        self._progress.update(self._task, records=self._records)

    def end(self, partition: int, audit: Audit) -> None:
        """Move on."""
        del partition, audit
        self._progress.advance(self._task)


@contextmanager
def _watched(partitions: int) -> Iterator[_Watch]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("partitions, {task.fields[records]:,} records"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as progress:
        yield _Bar(progress, partitions)


def _conclude(audit: Audit, topics: Topics, *, as_json: bool) -> int:
    """Print the verdict and return the exit status. Proved is only what was judged in all partitions, state and all."""
    is_proved = audit.is_proved and audit.states == topics.partition_count
    try:
        _print_verdict(audit, topics.partition_count, is_proved=is_proved, as_json=as_json)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise UserError(f"the verdict could not be written: {error.strerror}") from None
    return _PROVED if is_proved else _NOT_PROVED


def _print_verdict(audit: Audit, partitions: int, *, is_proved: bool, as_json: bool) -> None:
    if as_json:
        document = {
            "proved": is_proved,
            "partitions": partitions,
            **audit._asdict(),
            "findings": [finding._asdict() for finding in audit.findings],
        }
        _say(sys.stdout, orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
        return
    _say(sys.stdout, *map(_line, audit.findings), *(f"note: {note}" for note in audit.notes))
    _say(sys.stdout, _counts(audit), f"state: {audit.states} of {partitions} partitions compared with the changelogs")
    for invariant in sorted({finding.invariant for finding in audit.findings}):
        count = sum(finding.invariant == invariant for finding in audit.findings)
        _say(sys.stdout, f"broken: {invariant}, {count:,} times: {INVARIANTS[invariant]}")
    if audit.unprovable:
        _say(sys.stdout, f"not provable: {audit.unprovable:,} records of portfolios whose beginning was deleted")
    if audit.states < partitions:
        _say(sys.stdout, f"not proved: the state of {partitions - audit.states} partitions was not compared")
    if audit.waiting:
        _say(sys.stdout, f"not judged: {audit.waiting:,} inputs wait, no worker has taken them up; is one running?")
    _say(sys.stdout, "proved" if is_proved else "NOT proved")


def _counts(audit: Audit) -> str:
    waiting = f", {audit.waiting:,} inputs wait" if audit.waiting else ""
    return (
        f"{audit.signals:,} signals, {audit.orders:,} orders, {audit.lost:,} lost, {audit.doubled:,} doubled, "
        f"{audit.contradicted:,} contradicted, {audit.recomputed:,} recomputed identically, "
        f"{len(audit.findings):,} findings{waiting}"
    )


def _line(finding: Finding) -> str:
    return f"{finding.invariant} {finding.text}"


def _say(out: TextIO, *lines: str) -> None:
    for line in lines:
        print(line, file=out, flush=True)
