"""How many events a second: a backlog appears at once, and the clock stops when the last answer can be read.

The backlog is written in one transaction, so that the worker, which reads committed records, sees nothing of it
before its commit. The plain Faust program does not wait for commits: it begins a little earlier than its clock.
"""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Producer

from app.settings import Settings
from app.topics import FILLS_DLQ, SIZED_ORDERS
from bench.contestants import Contestant, Race
from bench.observer import Observer
from bench.workload import FILLS_PER_ORDER, PARTITIONS, Event, Workload

_SILENCE_SECONDS = 30.0


class Throughput(NamedTuple):
    """One run."""

    contestant: str
    events: int
    seconds: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


def measure(
    contestant: Contestant, bootstrap_servers: str, folder: Path, number: int, *, seed: int, events: int
) -> Throughput:
    """Run a contestant on a backlog of about so many events, half of them signals, half of them fills.

    Raises ContestantError if it ends, falls silent, refuses a record or decides otherwise than it should.
    """
    workload = Workload(seed, PARTITIONS, time.time_ns() // 1000)
    opening, opened = workload.opening(int(events / 2 / FILLS_PER_ORDER))
    backlog, expected = workload.mixed(opened, events // 2)
    # Each partition's fills end with one that becomes a dead letter: it shows that those before it were taken.
    backlog += [workload.unknown_order(partition) for partition in range(PARTITIONS)]
    with Race(contestant, bootstrap_servers, folder, number) as race, Observer(race.settings) as observer:
        write(race.settings, opening)
        await_answers(race, observer, len(opening))
        committed_at = write(race.settings, backlog)
        answers, finished_at = await_answers(race, observer, expected.total(), PARTITIONS)
        decisions = Counter((answer["decision"], answer["skip_reason"]) for answer in answers)
        if decisions != expected:
            raise race.error(f"decided {decisions}, expected was {expected}")
    return Throughput(contestant.name, len(backlog), finished_at - committed_at)


def write(settings: Settings, events: Sequence[Event]) -> float:
    """Write events in one transaction; return when its commit began."""
    producer = Producer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "transactional.id": f"{settings.app_id}-feeder",
            "queue.buffering.max.messages": 1_000_000,
            "log_level": 3,  # that the coordinator of transactions is still loading is no news
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


def await_answers(race: Race, observer: Observer, orders: int, letters: int = 0) -> tuple[list[dict[str, Any]], float]:
    """Wait for so many sized orders and dead letters; return the orders and when the last of all was here.

    Raises ContestantError if they do not come or there are more of them.
    """
    waiting = Counter({SIZED_ORDERS: orders, FILLS_DLQ: letters})
    values: list[bytes] = []
    last = time.perf_counter()
    while waiting.total() > 0:
        for seen in observer.poll():
            waiting[seen.topic] -= 1
            last = seen.at
            if seen.topic == SIZED_ORDERS:
                values.append(seen.value)
        race.check()
        if any(count < 0 for count in waiting.values()):
            raise race.error(f"answered more than it was asked: {dict(waiting)}")
        if time.perf_counter() > last + _SILENCE_SECONDS:
            raise race.error(f"still to come when it fell silent: {dict(waiting)}")
    return [orjson.loads(value) for value in values], last
