"""How long an answer takes at an ordinary load: from when a signal is due until its committed answer is here.

The load is open: events are due at fixed times, whatever became of those before. A sender that is late, because of its
machine or of itself, does not hide it: a signal's time counts from when it was due. How late the sender was is kept
too: where that is much, it is the sender that was measured.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import orjson
from confluent_kafka import Producer

from app.broker import Broker
from app.topics import SIGNALS, SIZED_ORDERS
from bench.contestants import Contestant, Race
from bench.observer import Observer
from bench.throughput import await_answers, write
from bench.workload import PARTITIONS, PORTFOLIOS, Event, Workload

_WARM_UP_SECONDS = 2.0
_LINGER_MS = 2
"""Of the sender, and part of what is measured: without it thousands of requests a second would measure the broker."""
_LAST_ANSWERS_SECONDS = 30.0


class Latency(NamedTuple):
    """One run."""

    contestant: str
    milliseconds: list[float]
    """Of each signal, sorted."""
    sent_late_ms: float
    """Within which 99 % of the events were sent after they were due."""
    cpu_us: float
    """Microseconds of processor time an event, at this load."""
    broker_cpu_us: float
    """Microseconds of the broker's processor time an event, also for what the sender and the reader ask of it."""

    def percentile(self, percent: float) -> float:
        """Return the milliseconds within which so many percent were answered."""
        return _percentile(self.milliseconds, percent)


class _Exchange(NamedTuple):
    """What was sent, and what came back; times are of `time.perf_counter`."""

    due: Mapping[str, float]
    """When each signal was due, by its id."""
    answered: Mapping[str, float]
    """When each answer was here, by the signal's id."""
    late: list[float]
    """How long after it was due each event was sent, sorted."""


def measure(
    contestant: Contestant,
    broker: Broker,
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
    warm_up = workload.mixed([], int(rate * _WARM_UP_SECONDS))
    with Race(contestant, broker, folder, number) as race:
        with Observer(race.settings) as observer:
            write(race.settings, opening)
            await_answers(race, observer, len(opening))
            _exchange(race, observer, warm_up, rate)
            before, broker_before = race.usage(), race.broker_usage()
            result = _exchange(race, observer, events, rate)
            after, broker_after = race.usage(), race.broker_usage()
            # All signals are answered by now; these show that all fills were taken, too, before it is stopped.
            write(race.settings, [workload.unknown_order(partition) for partition in range(PARTITIONS)])
            await_answers(race, observer, 0, PARTITIONS)
        race.verified()
    return Latency(
        contestant.name,
        sorted((result.answered[name] - due) * 1e3 for name, due in result.due.items()),
        _percentile(result.late, 99) * 1e3,
        (after.cpu_seconds - before.cpu_seconds) / len(events) * 1e6,
        (broker_after.cpu_seconds - broker_before.cpu_seconds) / len(events) * 1e6,
    )


def _percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile of sorted values."""
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def _exchange(race: Race, observer: Observer, events: list[Event], rate: int) -> _Exchange:
    """Send events at a rate and wait for the answers. Raises ContestantError if some do not come."""
    settings = race.settings
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "linger.ms": _LINGER_MS, "log_level": 2})
    producer.list_topics(timeout=_LAST_ANSWERS_SECONDS)
    due: dict[str, float] = {}
    answered: dict[str, float] = {}
    late: list[float] = []

    def listen(until: float) -> None:
        """Take note of answers until a time; once also if it is past, for a late sender must not make answers late."""
        is_over = False
        while not is_over:
            is_over = (left := until - time.perf_counter()) <= 0
            for seen in observer.poll(max(left, 0)):
                if seen.topic == SIZED_ORDERS:
                    answered[orjson.loads(seen.value)["signal_id"]] = seen.at

    begin = time.perf_counter()
    for number, (topic, partition, key, value) in enumerate(events):
        at = begin + number / rate
        listen(at)
        if topic == SIGNALS:
            due[orjson.loads(value)["signal_id"]] = at
        late.append(time.perf_counter() - at)
        producer.produce(settings.topic(topic), value, key, partition)
        producer.poll(0)
    producer.flush()
    deadline = time.perf_counter() + _LAST_ANSWERS_SECONDS
    while len(answered) < len(due) and time.perf_counter() < deadline:
        listen(time.perf_counter() + 0.1)
    race.check()
    if due.keys() != answered.keys():
        raise race.error(f"left {len(due.keys() - answered.keys())} of {len(due)} signals without an answer")
    return _Exchange(due, answered, sorted(late))
