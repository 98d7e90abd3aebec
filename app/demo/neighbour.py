"""What the demo's neighbours of the sizer, generator and venue, have in common as processes."""

import signal
import sys
import threading
import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, Message, Producer

from app.demo.accounts import PARTITIONS
from app.demo.desk import Outgoing
from app.demo.market import MarketClock
from app.processor.partitioners import partitioner
from app.settings import Settings

READY = "ready"
UNSPECIFIED = -1  # the producer's partitioner chooses
_FLUSH_SECONDS = 10.0


def wall_now() -> int:
    """Return the wall's time in microseconds since the epoch."""
    return time.time_ns() // 1000


def await_opening() -> MarketClock:
    """Say that this process is ready; return the market's clock, which whoever started it answers with."""
    print(READY, flush=True)
    start, speed = sys.stdin.readline().split()
    return MarketClock(int(start), int(speed))


def stop_request() -> threading.Event:
    """Return an event that SIGTERM sets: the process is to end its work and leave."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop


class Sender:
    """Sends records to one topic, by the partitioner that the sizer expects (murmur2, as Java's)."""

    def __init__(self, settings: Settings, logical_topic: str) -> None:
        self._topic = settings.topic(logical_topic)
        self._failure: KafkaError | None = None
        self._partition_of = partitioner("murmur2", PARTITIONS)
        self._producer = Producer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "client.id": f"demo-{logical_topic}",
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 1,
            }
        )

    def send(self, records: Sequence[Outgoing]) -> None:
        """Send records; raises RuntimeError if one of these or of earlier ones could not be delivered."""
        for record in records:
            partition = UNSPECIFIED
            if record.turn and record.key is not None and self._partition_of is not None:
                partition = (self._partition_of(record.key) + record.turn) % PARTITIONS
            self._producer.produce(self._topic, record.value, record.key, partition, on_delivery=self._delivered)
        self._producer.poll(0)
        self._check()

    def flush(self) -> None:
        """Wait until all is delivered; raises RuntimeError if something was not."""
        if self._producer.flush(_FLUSH_SECONDS):
            raise RuntimeError(f"{self._topic}: not delivered within {_FLUSH_SECONDS:g} s")
        self._check()

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        self._failure = self._failure or error

    def _check(self) -> None:
        if self._failure is not None:
            raise RuntimeError(f"{self._topic}: not delivered: {self._failure.str()}")
