"""confluent_kafka's transactional producer over the cluster in memory, as far as the app uses it.

It sends its records in order, one request at a time, in the background or when the transaction is committed
(librdkafka: several at a time, ordered by sequence numbers). A batch that is sent again after it was taken is
acknowledged without offsets.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, KafkaException

from tests.simulation.cluster import BrokerError, Entry
from tests.simulation.network import Network, failure

_BACKGROUND_CHANCE = 0.1
_BATCH = 20


class Message:
    """A record as a client gives it, or the news of a partition's end."""

    __slots__ = ("_error", "_headers", "_key", "_offset", "_partition", "_topic", "_value")

    def __init__(
        self, topic: str | None, partition: int | None, offset: int | None, entry: Entry | None, code: int | None
    ) -> None:
        self._topic, self._partition, self._offset = topic, partition, offset
        self._key = None if entry is None else entry.key
        self._value = None if entry is None else entry.value
        self._headers = None if entry is None else list(entry.headers) or None
        self._error = None if code is None else KafkaError(code)

    def topic(self) -> str | None:
        return self._topic

    def partition(self) -> int | None:
        return self._partition

    def offset(self) -> int | None:
        return self._offset

    def key(self) -> bytes | None:
        return self._key

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_NOT_AVAILABLE, 0

    def error(self) -> KafkaError | None:
        return self._error


class _Record:
    __slots__ = ("headers", "key", "on_delivery", "partition", "topic", "value")

    def __init__(self, topic: str, partition: int, key: Any, value: Any, headers: Any, on_delivery: Any) -> None:
        self.topic, self.partition, self.key, self.value = topic, partition, key, value
        self.headers, self.on_delivery = headers, on_delivery


class Producer:
    """A transactional producer."""

    queue_limit = 10_000

    def __init__(self, config: dict[str, Any]) -> None:
        self._network = Network.active
        self._process = self._network.process
        self._owner: str = config["transactional.id"]
        self._timeout = config["transaction.timeout.ms"]
        self._message_seconds = config["message.timeout.ms"] / 1000
        self._epoch = -1
        self._state = "new"
        self._error: KafkaException | None = None
        self._queue: deque[_Record] = deque()
        self._added: set[tuple[str, int]] = set()
        self._reports: list[tuple[Callable[..., None], KafkaError | None, Message]] = []
        self._is_sending = False

    def list_topics(self, topic: str | None = None, timeout: float = -1) -> Any:
        return metadata(self._network, timeout)

    def init_transactions(self, timeout: float = -1) -> None:
        cluster = self._network.cluster

        def effect() -> int:
            return cluster.init_producer_id(self._owner, self._timeout * 1000)

        try:
            self._epoch = self._network.write(f"init {self._owner}", effect, timeout)
        except BrokerError as error:
            raise failure(error.code, fatal=True) from None
        self._state = "ready"

    def begin_transaction(self) -> None:
        if self._error is not None:
            raise self._error
        if self._state != "ready":
            raise failure(KafkaError._STATE)
        self._state = "open"
        self._added.clear()

    def produce(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int = -1,
        on_delivery: Callable[..., None] | None = None,
        headers: Any = None,
    ) -> None:
        if self._error is not None:
            raise self._error
        if self._state != "open":
            raise failure(KafkaError._STATE)
        if len(self._queue) >= self.queue_limit:
            raise BufferError
        self._queue.append(_Record(topic, partition, key, value, tuple(headers or ()), on_delivery))
        if not self._is_sending and self._network.scheduler.random.random() < _BACKGROUND_CHANCE:
            self._send_in_background()

    def poll(self, timeout: float = -1) -> int:
        if len(self._queue) >= self.queue_limit:
            self._send_in_background()
            self._network.scheduler.wait(lambda: len(self._queue) < self.queue_limit, timeout)
        return self._serve()

    def commit_transaction(self, timeout: float = -1) -> None:
        scheduler = self._network.scheduler
        if self._error is None and self._state != "open":
            raise failure(KafkaError._STATE)
        scheduler.wait(lambda: not self._is_sending, None)
        self._send()
        self._serve()
        if self._error is not None:
            raise self._error
        if self._added:
            self._end(timeout, is_commit=True)
        self._state = "ready"

    def abort_transaction(self, timeout: float = -1) -> None:
        self._queue.clear()
        if self._added:
            self._end(timeout, is_commit=False)
        self._state = "ready"

    def flush(self, timeout: float = -1) -> int:
        self._network.scheduler.wait(lambda: not self._is_sending, None)
        self._send()
        self._serve()
        return len(self._queue)

    def close(self, timeout: float = -1) -> bool:
        if self._process.is_dead:
            return True
        if self._state == "open" and self._error is None and self._added:
            with suppress(KafkaException):  # it is closed all the same
                self._end(self._message_seconds, is_commit=False)
        self._state = "closed"
        self._network.scheduler.effect(f"close {self._owner}")
        return True

    def _end(self, seconds: float, *, is_commit: bool) -> None:
        def effect() -> None:
            cluster.end_transaction(self._owner, epoch, serial, is_commit=is_commit)

        cluster, epoch = self._network.cluster, self._epoch
        serial = cluster.serial(self._owner)
        word = "commit" if is_commit else "abort"
        try:
            self._network.write(f"{word} {self._owner} epoch {epoch}", effect, seconds)
        except BrokerError as error:
            raise self._fail(error.code) from None

    def _fail(self, code: int) -> KafkaException:
        is_fenced = code in (KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)
        self._error = failure(KafkaError._FENCED if is_fenced else code, fatal=True)
        return self._error

    def _send_in_background(self) -> None:
        if not self._is_sending:
            self._is_sending = True
            self._network.scheduler.spawn(f"{self._process.name}.sender", self._process, self._background)

    def _background(self) -> None:
        try:
            self._send()
        finally:
            self._is_sending = False

    def _send(self) -> None:
        """Send what is queued, batch by batch; what cannot be sent makes the transaction fail."""
        while self._queue and self._error is None:
            where = (self._queue[0].topic, self._queue[0].partition)
            batch = []
            while self._queue and len(batch) < _BATCH and (self._queue[0].topic, self._queue[0].partition) == where:
                batch.append(self._queue.popleft())
            try:
                if where not in self._added:
                    self._add(*where)
                offset = self._produce(*where, batch)
            except BrokerError as error:
                self._fail(error.code)
            except KafkaException:
                self._error = failure(KafkaError._MSG_TIMED_OUT, abort=True)
            else:
                self._report(batch, offset)

    def _add(self, topic: str, partition: int) -> None:
        def effect() -> None:
            cluster.add_partition(self._owner, epoch, topic, partition)

        cluster, epoch = self._network.cluster, self._epoch
        self._network.write(f"add {topic}/{partition} {self._owner} epoch {epoch}", effect, self._message_seconds)
        self._added.add((topic, partition))

    def _produce(self, topic: str, partition: int, batch: Sequence[_Record]) -> int | None:
        """Send a batch; return the offset of its first record, None if that was lost with an answer."""
        cluster, epoch = self._network.cluster, self._epoch
        is_taken = False

        def effect() -> int | None:
            nonlocal is_taken
            if is_taken:
                return None
            records = [(record.key, record.value, record.headers) for record in batch]
            first = cluster.produce(self._owner, epoch, topic, partition, records)
            is_taken = True
            return first

        what = f"produce {len(batch)} to {topic}/{partition} {self._owner} epoch {epoch}"
        return self._network.write(what, effect, self._message_seconds)

    def _report(self, batch: Sequence[_Record], first: int | None) -> None:
        for number, record in enumerate(batch):
            if record.on_delivery is not None:
                offset = None if first is None else first + number
                message = Message(record.topic, record.partition, offset, None, None)
                self._reports.append((record.on_delivery, None, message))

    def _serve(self) -> int:
        reports, self._reports = self._reports, []
        for report, error, message in reports:
            report(error, message)
        return len(reports)


def metadata(network: Network, seconds: float) -> Any:
    """Return what `list_topics` does."""
    cluster = network.cluster
    network.read("metadata", lambda: None, seconds)
    topics = {
        name: SimpleNamespace(topic=name, partitions=dict.fromkeys(range(cluster.partitions))) for name in cluster.ids
    }
    return SimpleNamespace(topics=topics, brokers={1: None})
