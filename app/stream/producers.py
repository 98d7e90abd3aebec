"""The transactional producers of one partition."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import cycle
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from app.errors import Doubt
from app.settings import Settings
from app.stream.clients import BrokerErrors, client_config
from app.stream.refusals import lacking

TRANSACTION_SECONDS = 10
"""A transaction that takes longer is aborted by the broker. Short, because the last one of a worker that died holds
up whoever reads committed records of the partition until then."""

_OPEN_SECONDS = 60.0
_QUEUE_RECORDS = 1_000_000
_QUEUE_KILOBYTES = 1_000_000
_MESSAGE_BYTES = 1_000_000_000
"""librdkafka's maximum: it compares before compression, the broker after it, and a dead letter must pass."""
_POLL_SECONDS = 0.05
_LINGER_MS = 20
"""How long records gather before they are sent. At 0 there is a request for nearly each, which costs as much processor
time as all else that an event takes. A lone event does not wait for it: a commit sends at once."""


class Producers:
    """Two producers with transactional ids of their own, in turn.

    A producer cannot begin before the markers of its last transaction are written; the other one can. A former owner
    of the partition may have a transaction open under either id, so opening fences both.
    """

    def __init__(self, settings: Settings, partition: int) -> None:
        self._settings = settings
        self._partition = partition
        self._errors = BrokerErrors()
        self._producers = [
            Producer(self._config(settings, f"{settings.app_id}-{partition}-{number}")) for number in (0, 1)
        ]
        self._turns = cycle(self._producers)
        self._current = self._producers[0]
        self._offsets: dict[str, int] = {}

    def _config(self, settings: Settings, transactional_id: str) -> dict[str, Any]:
        return client_config(settings, self._errors) | {
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_SECONDS * 1000,
            "message.timeout.ms": TRANSACTION_SECONDS * 1000,
            "linger.ms": _LINGER_MS,
            "message.max.bytes": _MESSAGE_BYTES,
            "queue.buffering.max.messages": _QUEUE_RECORDS,
            "queue.buffering.max.kbytes": _QUEUE_KILOBYTES,
        }

    def fence(self) -> None:
        """Fence former owners and end their open transactions; blocks. Raises Doubt, UserError if that is not allowed.

        When it returns, all they have ever committed can be read, and nothing is added by them any more.
        """
        for producer in self._producers:
            try:
                # Else the first request may wait half a second for a broker.
                producer.list_topics(timeout=_OPEN_SECONDS)
                producer.init_transactions(_OPEN_SECONDS)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
                    ids = f"Write on transactional ids that begin with {self._settings.app_id}-"
                    raise lacking(self._settings, "worker", ids) from None
                raise self._doubt("the former owner could not be fenced", error, producer) from None

    def begin(self) -> None:
        """Begin a transaction."""
        self._current = next(self._turns)
        self._offsets = {}
        try:
            self._current.begin_transaction()
        except KafkaException as error:
            raise self._doubt("a transaction could not begin", error, self._current) from None

    def produce(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()
    ) -> None:
        """Add a record to the transaction, to be sent at once. `topic`: real name."""
        if headers:
            self._send(topic, key, value, headers=list(headers))
        else:
            self._send(topic, key, value)

    def produce_rows(self, topic: str, rows: Sequence[tuple[bytes, bytes | None]]) -> None:
        """Add rows to a changelog; `commit` tells the offset of the last one."""
        for key, value in rows[:-1]:
            self._send(topic, key, value)
        key, value = rows[-1]
        self._send(topic, key, value, on_delivery=self._on_delivery)

    def _send(self, topic: str, key: bytes | None, value: bytes | None, **extra: Any) -> None:
        while True:
            try:
                self._current.produce(topic, value, key, self._partition, **extra)
            except BufferError:  # the queue is full: sending makes room
                self._current.poll(_POLL_SECONDS)
            except KafkaException as error:
                raise self._doubt(f"a record for {topic} was not taken", error, self._current) from None
            else:
                return

    def commit(self) -> Mapping[str, int]:
        """Commit the transaction; blocks. Return the last rows' offsets by changelog topic. Raises Doubt.

        Time is given by the transaction itself: librdkafka tries again as long as it can still succeed.
        """
        try:
            self._current.commit_transaction(TRANSACTION_SECONDS * 2)
        except KafkaException as error:
            raise self._doubt("it is not known whether a transaction was committed", error, self._current) from None
        return self._offsets

    def close(self) -> None:
        """Close both; a transaction that is open is aborted. Blocks."""
        for producer in self._producers:
            producer.close()

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        topic, offset = message.topic(), message.offset()
        if error is None and topic is not None and offset is not None:
            self._offsets[topic] = offset

    def _doubt(self, what: str, error: KafkaException, producer: Producer) -> Doubt:
        with suppress(KafkaException):  # a fenced producer raises once more
            producer.poll(0)  # what else there is to tell comes by the callback
        return Doubt(f"partition {self._partition}: {what}: {self._errors.explain(error)}")
