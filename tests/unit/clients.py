"""A consumer that gives what a test puts into it: for what a real broker cannot be made to do on demand."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
from confluent_kafka import TIMESTAMP_CREATE_TIME, KafkaError, TopicPartition

from app.stream import clients


class Ended(BaseException):
    """The process ended in doubt."""


def replaced(module: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put the consumer below in the place of librdkafka's; return what the process will have ended with."""
    reasons: list[str] = []

    def end(message: str, **_: Any) -> NoReturn:
        reasons.append(message)
        raise Ended

    monkeypatch.setattr(clients, "Consumer", Consumer)
    monkeypatch.setattr(module, "exit_in_doubt", end)
    return reasons


class Message:
    """A record, or an error."""

    def __init__(
        self,
        topic: str | None,
        partition: int | None,
        offset: int,
        value: bytes | None = None,
        key: bytes = b"k",
        *,
        code: int | None = None,
    ) -> None:
        self._facts = topic, partition, offset, key, value
        self._error = None if code is None else KafkaError(code)

    def topic(self) -> str | None:
        return self._facts[0]

    def partition(self) -> int | None:
        return self._facts[1]

    def offset(self) -> int:
        return self._facts[2]

    def key(self) -> bytes:
        return self._facts[3]

    def value(self) -> bytes | None:
        return self._facts[4]

    def headers(self) -> None:
        return None

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_CREATE_TIME, self._facts[2]

    def error(self) -> KafkaError | None:
        return self._error


class Consumer:
    """Gives the messages of `coming`, all that there are at once; the latest one made is `latest`."""

    latest: "Consumer"
    prepared: tuple[Message, ...] = ()
    """What comes first from the next one that is made."""
    watermarks = (0, 0)

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.coming: deque[Message] = deque(Consumer.prepared)
        Consumer.prepared = ()
        self.assigned: list[dict[tuple[str, int], int]] = []
        self.calls: list[tuple[str, list[tuple[str, int]]]] = []
        Consumer.latest = self

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.assigned.append({(where.topic, where.partition): where.offset for where in partitions})

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.calls.append(("pause", [(where.topic, where.partition) for where in partitions]))

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.calls.append(("resume", [(where.topic, where.partition) for where in partitions]))

    def poll(self, _: float) -> Message | None:
        return self.coming.popleft() if self.coming else None

    def consume(self, limit: int, _: float) -> list[Message]:
        return [self.coming.popleft() for _ in range(min(limit, len(self.coming)))]

    def close(self) -> None:
        self.coming.clear()

    def get_watermark_offsets(self, *_: Any, **__: Any) -> tuple[int, int]:
        return self.watermarks


async def until(is_so: Callable[[], bool]) -> None:
    """Wait for what happens in another thread; 20 seconds at most."""
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - the code under test tells nobody
            await asyncio.sleep(0)
