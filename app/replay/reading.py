"""Reading one partition of all topics, committed records only, each topic up to an end that was settled before."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # its stubs do not say so

from app.errors import UserError
from app.processor import Record
from app.replay.source import BrokenSourceError, Give
from app.settings import Settings
from app.stream.clients import REQUEST_SECONDS, BrokerErrors, client_config, partition_offsets
from app.stream.producers import TRANSACTION_SECONDS

_FETCH = 5_000
_AHEAD = 20_000
"""Records of a topic that nobody has asked for yet."""
_POLL_SECONDS = 0.5
_STALLED_SECONDS = 60.0
_SETTLE_SECONDS = TRANSACTION_SECONDS * 1.5
_SETTLE_PAUSE = 0.01

_LEADER_MOVES = {
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.OFFSET_NOT_AVAILABLE,
}
"""What a broker says while a partition gets another leader, or the same one anew: it is over in a moment."""

Ends = Mapping[str, int]
"""Offsets by logical topic: up to there, not included."""


class StoppedError(Exception):
    """Reading was asked to stop before it had reached the ends."""


class PartitionReader:
    """Reads one partition of some topics on and on; each record once."""

    def __init__(
        self, settings: Settings, partition: int, names: Mapping[str, str], is_stopped: Callable[[], bool]
    ) -> None:
        """`names`: real names by logical topic. Raises UserError if the brokers do not answer."""
        self._partition = partition
        self._names = names
        self._logical = {name: topic for topic, name in names.items()}
        self._is_stopped = is_stopped
        self._errors = BrokerErrors()
        config = client_config(settings, self._errors)
        self._admin = AdminClient(config)
        self._consumer = Consumer(
            config
            | {
                "group.id": f"{settings.app_id}-verify",  # librdkafka wants one; the group is not joined
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "queued.max.messages.kbytes": 16_384,
            }
        )
        self.starts = self._offsets(list(names), OffsetSpec.earliest())  # type: ignore[no-untyped-call]  # no types
        """The first offset that each topic still has."""
        self._next = dict(self.starts)

    def close(self) -> None:
        """Let go of the brokers."""
        self._consumer.close()

    def ends(self, topics: Sequence[str]) -> dict[str, int]:
        """Return up to where the topics can be read now."""
        return self._offsets(topics, OffsetSpec.latest())  # type: ignore[no-untyped-call]  # no types

    def written_ends(self, topics: Sequence[str]) -> dict[str, int]:
        """Return where the topics end, with what is in open transactions."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # no types
        return self._offsets(topics, latest, IsolationLevel.READ_UNCOMMITTED)

    def settled_ends(self, topics: Sequence[str]) -> dict[str, int]:
        """Return ends that cover all that is written now: transactions that are open now have ended by them.

        A transaction becomes visible topic by topic. Who has seen one topic's part of it sees the others' up to here.
        Raises UserError if a transaction does not end.
        """
        written = self.written_ends(topics)
        deadline = time.monotonic() + _SETTLE_SECONDS
        pause = threading.Event()
        while True:
            ends = self.ends(topics)
            late = [topic for topic in topics if ends[topic] < written[topic]]
            if not late:
                return ends
            if self._is_stopped():
                raise StoppedError
            if time.monotonic() > deadline:
                raise UserError(
                    f"topic {self._names[late[0]]}, partition {self._partition}: a transaction is open from offset "
                    f"{ends[late[0]]} on, what is behind it cannot be read: wait for its end, or find it with "
                    "`kafka-transactions.sh find-hanging` and see docs/operations.md"
                )
            pause.wait(_SETTLE_PAUSE)

    def read(self, ends: Ends) -> Iterator[Record]:
        """Yield the records of the topics in `ends` from where they were read to; topics in any order.

        Raises UserError if records were deleted meanwhile or the brokers do not answer, StoppedError.
        """
        unfinished = {topic: end for topic, end in ends.items() if self._next[topic] < end}
        if unfinished:
            self._consumer.assign([self._place(topic) for topic in unfinished])
        while unfinished:
            for message in self._messages():
                topic = self._logical.get(str(message.topic()), "")
                if topic not in unfinished:
                    continue  # also that the group, which is never joined, is not allowed us
                is_reached = self._reaches(message, ends[topic])
                if not is_reached and message.error() is None:
                    yield self._record(message, topic)
                if is_reached or self._next[topic] >= ends[topic]:
                    # Further ones are for the next time.
                    self._next[topic] = ends[topic]
                    self._consumer.incremental_unassign([self._place(topic)])
                    del unfinished[topic]

    def seek(self, topic: str, offset: int) -> None:
        """Read a topic from an offset on."""
        self._next[topic] = offset

    def pull(self, ends: Ends) -> Give:
        """Begin to read the topics in `ends` in turns.

        A topic that is far ahead of what is asked for is not
        fetched until it is asked for again. Raises UserError if records were deleted meanwhile or the brokers do not
        answer, StoppedError.
        """
        read = {topic: list[Record]() for topic in ends}
        fetched = {topic for topic in ends if self._next[topic] < ends[topic]}
        self._consumer.assign([self._place(topic) for topic in fetched])

        def let_go(topic: str) -> None:
            self._consumer.incremental_unassign([self._place(topic)])
            fetched.discard(topic)

        def give(topic: str) -> list[Record]:
            while not read[topic] and self._next[topic] < ends[topic]:
                if topic not in fetched:
                    self._consumer.incremental_assign([self._place(topic)])
                    fetched.add(topic)
                for message in self._messages():
                    got = self._logical.get(str(message.topic()), "")
                    if got not in fetched or (message.error() is None and int(message.offset() or 0) < self._next[got]):
                        continue
                    is_reached = self._reaches(message, ends[got])
                    if not is_reached and message.error() is None:
                        read[got].append(self._record(message, got))
                    if is_reached or self._next[got] >= ends[got]:
                        self._next[got] = ends[got]
                        let_go(got)
                    elif got != topic and len(read[got]) >= _AHEAD:
                        let_go(got)
            records, read[topic] = read[topic], []
            return records

        return give

    def _messages(self) -> list[Message]:
        """Wait for messages and errors."""
        deadline = time.monotonic() + _STALLED_SECONDS
        while time.monotonic() < deadline:
            if self._is_stopped():
                raise StoppedError
            # consume(n, timeout) would wait for the whole time-out unless n messages are there.
            first = self._consumer.poll(_POLL_SECONDS)
            if first is not None:
                return [first, *self._consumer.consume(_FETCH, 0)]
        raise UserError(self._failure(f"nothing came for {_STALLED_SECONDS:g} seconds"))

    def _reaches(self, message: Message, end: int) -> bool:
        """Tell whether a topic's end is reached before this message."""
        error = message.error()
        offset = int(message.offset() or 0)
        if error is None:
            return offset >= end
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the public name of librdkafka's code
            return offset >= end
        if error.code() == KafkaError._AUTO_OFFSET_RESET:  # noqa: SLF001 - as above
            raise BrokenSourceError(
                f"topic {message.topic()}, partition {self._partition}: records were deleted while it was read; "
                "begin again"
            )
        if error.retriable() and not error.fatal():
            return False
        raise UserError(self._failure(error.str()))

    def _record(self, message: Message, topic: str) -> Record:
        key, value, headers = message.key(), message.value(), message.headers() or ()
        offset = int(message.offset() or 0)
        self._next[topic] = offset + 1
        timestamp = message.timestamp()[1]
        return Record(topic, self._partition, offset, key, value, tuple(headers), timestamp)  # type: ignore[arg-type]  # stubs allow str

    def _place(self, topic: str) -> TopicPartition:
        return TopicPartition(self._names[topic], self._partition, self._next[topic])

    def _offsets(
        self, topics: Sequence[str], spec: OffsetSpec, isolation: IsolationLevel = IsolationLevel.READ_COMMITTED
    ) -> dict[str, int]:
        names = [self._names[topic] for topic in topics]
        deadline = time.monotonic() + _SETTLE_SECONDS
        pause = threading.Event()
        while True:
            try:
                found = partition_offsets(self._admin, names, self._partition, spec, isolation)
            except KafkaException as error:
                if error.args[0].code() not in _LEADER_MOVES or time.monotonic() > deadline:
                    raise UserError(self._failure(self._errors.explain(error))) from None
                self._learn_leaders()
            else:
                return {self._logical[name]: offset for name, offset in found.items()}
            pause.wait(_SETTLE_PAUSE)

    def _learn_leaders(self) -> None:
        """Have the client ask for the leaders anew: of a request that fails it keeps the ones it knew."""
        with suppress(KafkaException):  # then the next request tells
            self._admin.list_topics(timeout=REQUEST_SECONDS)

    def _failure(self, reason: str) -> str:
        return f"partition {self._partition} cannot be read: {reason}"


@contextmanager
def partition_reader(
    settings: Settings, partition: int, names: Mapping[str, str], is_stopped: Callable[[], bool]
) -> Iterator[PartitionReader]:
    """Give a reader and close it."""
    reader = PartitionReader(settings, partition, names, is_stopped)
    try:
        yield reader
    finally:
        reader.close()
