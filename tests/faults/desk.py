"""The desk under a fault suite: a steady flow of signals and fills, good and bad, and an eye on the answers."""

import heapq
import random
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from app.processor.partitioners import partitioner
from app.settings import Settings
from app.topics import FILLS, SIGNALS, SIZED_ORDERS
from tests.integration.traffic import Input, Traffic

_SLICE_SECONDS = 0.05
_REFRESH_MS = 2_000
"""A client that meets a topic before its broker does would ask again in five minutes only."""
_FILLED_SHARE = 0.5
_MEGABYTE = 900_000
"""Characters of padding: with the rest of the record within Kafka's default of 1 MiB."""


class _Due(NamedTuple):
    at: float
    number: int
    record: Input


class Flow:
    """Signals, and fills some seconds after them, at a steady rate until it is closed; the same for the same seed.

    `mood`: what kind of desk it is just now, one of MOODS.
    """

    def __init__(self, settings: Settings, partitions: int, per_second: int, seed: int) -> None:
        self.mood = "good"
        self.sent = 0
        """Records given to Kafka so far, of all kinds."""
        self._settings = settings
        self._per_second = per_second
        self._dice = random.Random(seed)
        self._traffic = Traffic(seed, portfolios=60)
        self._partitions = partitions
        partition_of = partitioner("murmur2", partitions)
        assert partition_of is not None
        self._partition_of = partition_of
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 300_000,
                "topic.metadata.refresh.interval.ms": _REFRESH_MS,
                "log_level": 0,
            }
        )
        self._due: list[_Due] = []
        self._recent: list[Input] = []
        self._written: dict[int, int] = {}
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._failed: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def last_signals(self) -> dict[int, int]:
        """Return, by partition, the offset of the last good new signal that is written for sure."""
        with self._lock:
            return dict(self._written)

    def close(self) -> None:
        """Send what is due, one last good signal for each partition, and wait until all is written."""
        self._is_over.set()
        self._thread.join()
        for due in self._due:
            self._send(due.record)
        missing = set(range(self._partitions))
        while missing:
            signal = self._traffic.signal()
            missing.discard(self._send(signal, is_good=True))
        assert self._producer.flush(300) == 0
        assert not self._failed, self._failed[:3]

    def _run(self) -> None:
        began = time.monotonic()
        allowed = 0.0
        while not self._is_over.wait(_SLICE_SECONDS):
            now = time.monotonic()
            allowed += (now - began) * self._per_second
            began = now
            while self._due and self._due[0].at <= now:
                self._send(heapq.heappop(self._due).record)
                allowed -= 1
            while allowed >= 1:
                allowed -= MOODS[self.mood](self)
            self._producer.poll(0)

    def good(self) -> int:
        """Send a signal; for half of them the fills come later."""
        signal = self._traffic.signal()
        self._send(signal, is_good=True)
        self._recent = [*self._recent[-200:], signal]
        if self._dice.random() < _FILLED_SHARE:
            at = time.monotonic()
            for fill in self._traffic.round_trip(signal):
                at += self._dice.uniform(0.3, 3)
                heapq.heappush(self._due, _Due(at, self.sent + len(self._due), fill))
        return 1

    def poison(self) -> int:
        """Send a good one, and for every tenth a bad record of some kind."""
        if self._dice.random() < 0.1:
            key, document = b"PF-bad", self._document()
            bad: list[tuple[str, bytes | None, bytes | None]] = [
                (SIGNALS, key, b"{not json"),
                (SIGNALS, key, None),
                (SIGNALS, None, orjson.dumps(document)),
                (SIGNALS, key, orjson.dumps(document)),
                (SIGNALS, document["portfolio_id"].encode(), orjson.dumps(document | {"confidence": 2})),
                (
                    SIGNALS,
                    document["portfolio_id"].encode(),
                    orjson.dumps(document | {"generated_at": "1999-01-01T00:00:00Z"}),
                ),
                (SIGNALS, document["portfolio_id"].encode(), orjson.dumps(document | {"signal_id": "\n"})),
                (SIGNALS, key, b"\x00\x00\x00\x00\x07avro without a registry"),
                (SIGNALS, key, self._dice.randbytes(200)),
                (FILLS, key, b"[]"),
                (FILLS, key, orjson.dumps({"exec_id": "E", "order_id": "nobody's"})),
            ]
            self._send(Input(*self._dice.choice(bad)))
        return self.good() + 1

    def stranger(self) -> int:
        """Send a good record to a partition where its key does not belong."""
        if self._dice.random() < 0.05:
            signal = self._traffic.signal()
            assert signal.key is not None
            self._produce(signal, (self._partition_of(signal.key) + 1) % self._partitions)
        return self.good()

    def repeating(self) -> int:
        """Send a good one, and one of the last ones once more."""
        if self._recent:
            self._send(self._dice.choice(self._recent))
        return self.good() + 1

    def late(self) -> int:
        """Send signals some seconds late and out of order."""
        ago = timedelta(seconds=self._dice.uniform(0, 30))
        signal = self._traffic.signal(generated_at=(datetime.now(UTC) - ago).isoformat())
        heapq.heappush(self._due, _Due(time.monotonic() + self._dice.uniform(0, 3), self.sent + len(self._due), signal))
        return 1

    def large(self) -> int:
        """Send a record of almost a megabyte now and then: half of them are good, for unknown fields are no mistake."""
        if self._dice.random() < 0.01:
            padding = "x" * _MEGABYTE
            if self._dice.random() < 0.5:
                self._send(self._traffic.signal(comment=padding), is_good=True)
            else:
                self._send(self._traffic.signal(symbol=padding))
        return self.good()

    def _document(self) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads(self._traffic.signal().value or b"")
        return document

    def _send(self, record: Input, *, is_good: bool = False) -> int:
        partition = 0 if record.key is None else self._partition_of(record.key)
        self._produce(record, partition, is_good=is_good)
        return partition

    def _produce(self, record: Input, partition: int, *, is_good: bool = False) -> None:
        def written(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._failed.append(error.str())
            elif is_good:
                with self._lock:
                    self._written[partition] = max(self._written.get(partition, -1), message.offset() or 0)

        name = self._settings.topic(record.topic)
        while True:
            try:
                self._producer.produce(name, record.value, record.key, partition, on_delivery=written)
            except BufferError:
                self._producer.poll(0.1)
            else:
                break
        self.sent += 1


MOODS: Mapping[str, Callable[[Flow], int]] = {
    "good": Flow.good,
    "poison": Flow.poison,
    "stranger": Flow.stranger,
    "repeating": Flow.repeating,
    "late": Flow.late,
    "large": Flow.large,
}


class Watcher:
    """A consumer of `sized_orders`, as an execution service is one: how far each partition's answers have come."""

    def __init__(self, settings: Settings, partitions: int) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "group.id": "watcher",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "topic.metadata.refresh.interval.ms": _REFRESH_MS,
                "log_level": 0,
            }
        )
        name = settings.topic(SIZED_ORDERS)
        self._consumer.assign([TopicPartition(name, partition, 0) for partition in range(partitions)])
        self._answered: dict[int, int] = {}
        self._changed = threading.Condition()
        self._is_over = threading.Event()
        self.asleep = threading.Event()
        """While set it reads nothing: a consumer that stands still."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def answered(self) -> Mapping[int, int]:
        """The offset of the last answered signal, by partition."""
        return dict(self._answered)

    def wait_for(self, offsets: Mapping[int, int], seconds: float) -> bool:
        """Wait until the signals at these offsets, by partition, are answered; False if they are not in time."""

        def is_there() -> bool:
            return all(self._answered.get(partition, -1) >= offset for partition, offset in offsets.items())

        with self._changed:
            return self._changed.wait_for(is_there, seconds)

    def close(self) -> None:
        """End."""
        self._is_over.set()
        self._thread.join()
        self._consumer.close()

    def _run(self) -> None:
        while not self._is_over.is_set():
            if self.asleep.is_set():
                self._is_over.wait(_SLICE_SECONDS)
                continue
            found: dict[int, int] = {}
            for message in self._consumer.consume(1_000, 0.1):
                if message.error() is None:
                    found[message.partition() or 0] = orjson.loads(message.value() or b"")["signal_offset"]
            if found:
                with self._changed:
                    self._answered |= found
                    self._changed.notify_all()
