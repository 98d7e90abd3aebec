"""How long an answer takes at an ordinary load: from sending a signal until its committed answer is here."""

import time
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import orjson
from confluent_kafka import Producer

from app.settings import Settings
from app.topics import SIGNALS, SIZED_ORDERS
from bench.contestants import Contestant, Race
from bench.observer import Observer
from bench.throughput import await_answers, write
from bench.workload import FILLS_PER_ORDER, PARTITIONS, Event, Workload

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


def pooled(runs: Iterable[Latency]) -> Latency:
    """Return several runs of one contestant as one."""
    parts = list(runs)
    return Latency(parts[0].contestant, sorted(chain.from_iterable(run.milliseconds for run in parts)))


def measure(
    contestant: Contestant, bootstrap_servers: str, folder: Path, number: int, *, seed: int, rate: int, seconds: float
) -> Latency:
    """Send a contestant `rate` events a second, half of them signals, half of them fills.

    Raises ContestantError if it falls silent.
    """
    workload = Workload(seed, PARTITIONS, time.time_ns() // 1000)
    signals = int(rate * seconds / 2)
    opening, orders = workload.opening(int(signals / FILLS_PER_ORDER))
    events, _ = workload.mixed(orders, signals)
    warm_up, _ = workload.mixed([], _WARM_UP_EVENTS)
    with Race(contestant, bootstrap_servers, folder, number) as race, Observer(race.settings) as observer:
        write(race.settings, opening)
        await_answers(race, observer, len(opening))
        for part in (warm_up, events):
            sent, answered = _exchange(race.settings, observer, part, rate)
            race.check()
            if sent.keys() != answered.keys():
                raise race.error(f"left {len(sent.keys() - answered.keys())} of {len(sent)} signals without an answer")
    return Latency(contestant.name, sorted((answered[name] - sent[name]) * 1e3 for name in sent))


def _exchange(
    settings: Settings, observer: Observer, events: list[Event], rate: int
) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Send events at a rate; return when each signal was sent and when it was answered, by signal id."""
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "linger.ms": 0})
    producer.list_topics(timeout=_LAST_ANSWERS_SECONDS)
    sent: dict[str, float] = {}
    answered: dict[str, float] = {}

    def listen(until: float) -> None:
        while (left := until - time.perf_counter()) > 0:
            for seen in observer.poll(left):
                if seen.topic == SIZED_ORDERS:
                    answered[orjson.loads(seen.value)["signal_id"]] = seen.at

    begin = time.perf_counter()
    for number, (topic, partition, key, value) in enumerate(events):
        listen(begin + number / rate)
        if topic == SIGNALS:
            sent[orjson.loads(value)["signal_id"]] = time.perf_counter()
        producer.produce(settings.topic(topic), value, key, partition)
        producer.poll(0)
    producer.flush()
    deadline = time.perf_counter() + _LAST_ANSWERS_SECONDS
    while len(answered) < len(sent) and time.perf_counter() < deadline:
        listen(time.perf_counter() + 0.1)
    return sent, answered
