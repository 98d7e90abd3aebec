"""How many events a second and what an event costs: from a backlog's appearance until its last answer can be read.

The backlog is written in one transaction, so that who reads committed records sees nothing of it before its commit.
The plain Faust program does not wait for commits: it begins a little earlier than its clock. Processor time is counted
from before the writing on, so none of its work is missed.
"""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer

from app.broker import Broker
from app.settings import Settings
from app.topics import FILLS_DLQ, SIZED_ORDERS
from bench.contestants import Contestant, Race
from bench.observer import Observer
from bench.workload import PARTITIONS, SIGNAL_SHARE, Event, Workload

_SILENCE_SECONDS = 30.0
_MEBIBYTE = 1024 * 1024


class Throughput(NamedTuple):
    """One run."""

    contestant: str
    events: int
    seconds: float
    cpu_seconds: float
    """Of all its processes, user and system."""
    broker_cpu_seconds: float
    """Of the broker, also for writing the events and for reading the answers."""
    all_log_bytes: int
    """What the broker has written for them: events, answers and state."""
    resident_bytes: int
    """Of all its processes, at the end."""

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of processor time an event."""
        return self.cpu_seconds / self.events * 1e6

    @property
    def broker_cpu_us(self) -> float:
        """Microseconds of the broker's processor time an event."""
        return self.broker_cpu_seconds / self.events * 1e6

    @property
    def log_bytes(self) -> float:
        """Bytes that the broker has written an event."""
        return self.all_log_bytes / self.events

    @property
    def resident_mib(self) -> float:
        """Mebibytes of memory."""
        return self.resident_bytes / _MEBIBYTE


class Backlog(NamedTuple):
    """What a round's contestants are all given."""

    opening: list[Event]
    events: list[Event]
    signals: int
    """Among `events`: each has one answer."""


def backlog(workload: Workload, events: int) -> Backlog:
    """Return about so many events, and the signals that come before them."""
    opening, mixed = workload.lots(events)
    # Each partition's fills end with one that becomes a dead letter: it shows that those before it were taken.
    mixed += [workload.unknown_order(partition) for partition in range(PARTITIONS)]
    return Backlog(opening, mixed, round(events * SIGNAL_SHARE))


def measure(contestant: Contestant, broker: Broker, folder: Path, number: int, work: Backlog) -> Throughput:
    """Run a contestant on a backlog. Raises ContestantError if it falls silent or answers wrongly."""
    with Race(contestant, broker, folder, number) as race:
        with Observer(race.settings) as observer:
            run = work_off(contestant.name, race, observer, work)
        race.verified()
    return run


def work_off(name: str, race: Race, observer: Observer, work: Backlog) -> Throughput:
    """Measure whoever runs in `race` on a backlog. Raises ContestantError if it falls silent."""
    write(race.settings, work.opening)
    await_answers(race, observer, len(work.opening))
    bytes_before, broker_before, before = race.log_bytes(), race.broker_usage(), race.usage()
    committed_at = write(race.settings, work.events)
    finished_at = await_answers(race, observer, work.signals, PARTITIONS)
    after, broker_after = race.usage(), race.broker_usage()
    return Throughput(
        name,
        len(work.events),
        finished_at - committed_at,
        after.cpu_seconds - before.cpu_seconds,
        broker_after.cpu_seconds - broker_before.cpu_seconds,
        race.log_bytes() - bytes_before,
        after.resident_bytes,
    )


def write(settings: Settings, events: Sequence[Event]) -> float:
    """Write events in one transaction; return when its commit began."""
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "transactional.id": f"{settings.app_id}-feeder",
            "queue.buffering.max.messages": 1_000_000,
            "log_level": 2,  # neither that a coordinator is still loading is news, nor that the broker ended with us
        }
    )
    producer.init_transactions()
    producer.begin_transaction()
    for topic, partition, key, value in events:
        producer.produce(settings.topic(topic), value, key, partition)
    producer.flush()
    begin = time.perf_counter()
    producer.commit_transaction()
    return begin


def await_answers(race: Race, observer: Observer, orders: int, letters: int = 0) -> float:
    """Wait for so many sized orders and dead letters; return when the last of all was here.

    Raises ContestantError if they do not come or there are more of them.
    """
    waiting = Counter({SIZED_ORDERS: orders, FILLS_DLQ: letters})
    last = time.perf_counter()
    while waiting.total() > 0:
        for seen in observer.poll():
            waiting[seen.topic] -= 1
            last = seen.at
        race.check()
        if any(count < 0 for count in waiting.values()):
            raise race.error(f"answered more than it was asked: {dict(waiting)}")
        if time.perf_counter() > last + _SILENCE_SECONDS:
            raise race.error(f"still to come when it fell silent: {dict(waiting)}")
    return last
