"""A consumer of the answers as the contract wants one: it sees committed records only."""

import time
from collections.abc import Iterator
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from app.settings import Settings
from app.topics import FILLS_DLQ, SIZED_ORDERS
from bench.workload import PARTITIONS

_POLL_SECONDS = 0.5
_BATCH = 10_000


class Seen(NamedTuple):
    """A record, and when it was here (seconds of `time.perf_counter`)."""

    topic: str
    """Logical name."""
    value: bytes
    at: float


class Observer:
    """Reads sized orders and the dead letters of fills from the beginning of their topics."""

    def __init__(self, settings: Settings) -> None:
        self._logical = {settings.topic(topic): topic for topic in (SIZED_ORDERS, FILLS_DLQ)}
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.bootstrap_servers,
                "group.id": f"{settings.app_id}-observer",
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
            }
        )
        self._consumer.assign(
            [TopicPartition(name, number, 0) for name in self._logical for number in range(PARTITIONS)]
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._consumer.close()

    def poll(self, seconds: float = _POLL_SECONDS) -> Iterator[Seen]:
        """Yield what is there, after waiting up to `seconds` for the first record."""
        # `consume` would wait until all of the number asked for are there.
        first = self._consumer.poll(seconds)
        if first is None:
            return
        at = time.perf_counter()
        for message in (first, *self._consumer.consume(_BATCH, 0)):
            error = message.error()
            if error is not None:
                raise KafkaException(error)
            value = message.value()
            assert value is not None
            yield Seen(self._logical[str(message.topic())], value, at)
