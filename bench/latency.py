"""How long an answer takes at an ordinary load: from when a signal is due until its committed answer is here.

The load is open: events are due at fixed times, whatever became of those before. A sender that is late, because of its
machine or of itself, does not hide it: a signal's time counts from when it was due.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import orjson
from confluent_kafka import Producer

from app.settings import Settings
from app.topics import SIGNALS, SIZED_ORDERS
from bench.contestants import Contestant, Race
from bench.observer import Observer
from bench.throughput import await_answers, write
from bench.workload import PARTITIONS, PORTFOLIOS, Event, Workload

_WARM_UP_EVENTS = 200
_LAST_ANSWERS_SECONDS = 10.0


class Latency(NamedTuple):
    """One run."""

    contestant: str
    milliseconds: list[float]
    """Of each signal, sorted."""

    def percentile(self, percent: float) -> float:
        """Return the milliseconds within which so many percent were answered."""
        return self.milliseconds[min(len(self.milliseconds) - 1, int(len(self.milliseconds) * percent / 100))]


def measure(
    contestant: Contestant,
    bootstrap_servers: str,
    folder: Path,
    number: int,
    *,
    seed: int,
    rate: int,
    seconds: float,
    portfolios: int = PORTFOLIOS,
) -> Latency:
    """Send a contestant `rate` events a second. Raises ContestantError if it falls silent or answers wrongly."""
    workload = Workload(seed, PARTITIONS, time.time_ns() // 1000, portfolios)
    opening, events = workload.lots(int(rate * seconds))
    warm_up = workload.mixed([], _WARM_UP_EVENTS)
    with Race(contestant, bootstrap_servers, folder, number) as race:
        with Observer(race.settings) as observer:
            write(race.settings, opening)
            await_answers(race, observer, len(opening))
            for part in (warm_up, events):
                due, answered = _exchange(race.settings, observer, part, rate)
                race.check()
                if due.keys() != answered.keys():
                    missing = len(due.keys() - answered.keys())
                    raise race.error(f"left {missing} of {len(due)} signals without an answer")
        race.verified()
    return Latency(contestant.name, sorted((answered[name] - due[name]) * 1e3 for name in due))


def _exchange(
    settings: Settings, observer: Observer, events: list[Event], rate: int
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Send events at a rate; return when each signal was due and when it was answered, by signal id."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "linger.ms": 0})
    producer.list_topics(timeout=_LAST_ANSWERS_SECONDS)
    due: dict[str, float] = {}
    answered: dict[str, float] = {}

    def listen(until: float) -> None:
        while (left := until - time.perf_counter()) > 0:
            for seen in observer.poll(left):
                if seen.topic == SIZED_ORDERS:
                    answered[orjson.loads(seen.value)["signal_id"]] = seen.at

    begin = time.perf_counter()
    for number, (topic, partition, key, value) in enumerate(events):
        at = begin + number / rate
        listen(at)
        if topic == SIGNALS:
            due[orjson.loads(value)["signal_id"]] = at
        producer.produce(settings.topic(topic), value, key, partition)
        producer.poll(0)
    producer.flush()
    deadline = time.perf_counter() + _LAST_ANSWERS_SECONDS
    while len(answered) < len(due) and time.perf_counter() < deadline:
        listen(time.perf_counter() + 0.1)
    return due, answered
