"""Bringing a partition's local tables up to the end of their changelogs, after its former owners were fenced."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from typing import cast

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from app.errors import Doubt, UserError
from app.settings import Settings
from app.stream.clients import committed_reader
from app.stream.progress import RESTORES, Progress
from app.stream.store import LocalTable
from app.stream.topics import changelog_topic

_BATCH = 600
"""Fewer than the new objects (700) after which Python looks for garbage: it would look through these messages."""
_LOADED_ROWS = 50_000
"""From so many on a table is opened for loading: that costs some milliseconds, and less for each row."""
_STALLED_SECONDS = 60.0

_log = structlog.get_logger("sizer")


def restore(
    settings: Settings,
    partition: int,
    tables: Mapping[str, LocalTable],
    ends: Mapping[str, int],
    tombstone_seconds: Mapping[str, float],
) -> int:
    """Read each table's changelog from where its local rows end to the end; blocks. Return the number of records read.

    `ends`: by table, where its changelog ends now that the former owners' last transactions have ended; this is the
    state. Each table's own offset tells where to begin, wherever a kill left the others.

    Raises UserError if a changelog ends before the local rows do, Doubt if reading stalls.
    """
    restoration = _Restoration(settings, partition, tables, ends)
    restoration.drop_outdated(tombstone_seconds)
    with committed_reader(settings, f"partition {partition}: its state could not be restored") as consumer:
        return restoration.run(consumer)


def prepare_standby(
    settings: Settings,
    partition: int,
    tables: Mapping[str, LocalTable],
    ends: Mapping[str, int],
    tombstone_seconds: Mapping[str, float],
) -> None:
    """Make sure that a standby may go on from its local rows. Raises as `restore` does."""
    _Restoration(settings, partition, tables, ends).drop_outdated(tombstone_seconds)


class _Restoration:
    def __init__(
        self, settings: Settings, partition: int, tables: Mapping[str, LocalTable], ends: Mapping[str, int]
    ) -> None:
        self._partition = partition
        self._tables = {changelog_topic(settings, name): table for name, table in tables.items()}
        self._ends = {changelog_topic(settings, name): end for name, end in ends.items()}
        self._unfinished = set(self._tables)
        for topic, table in self._tables.items():
            if table.next_offset > self._ends[topic]:
                raise UserError(
                    f"topic {topic} ends at offset {self._ends[topic]} in partition {partition} but the local state was"
                    f" written up to {table.next_offset}: the topic has lost committed records; to take what it still"
                    f" has for the truth, remove the folder {table.path}"
                )

    def drop_outdated(self, tombstone_seconds: Mapping[str, float]) -> None:
        """Throw away local rows that missed changes for so long that deletions may be compacted away by now."""
        for topic, table in self._tables.items():
            age = time.time() - table.written_at
            if 0 < table.next_offset < self._ends[topic] and age > tombstone_seconds[table.table] / 2:
                _log.info("local table is outdated", topic=topic, days=age // 86_400)
                table.clear()

    def run(self, consumer: Consumer) -> int:
        """Read until all ends are reached."""
        with ExitStack() as loading:
            for topic, table in self._tables.items():
                if self._ends[topic] - table.next_offset >= _LOADED_ROWS:
                    loading.enter_context(table.loading())
            progress = loading.enter_context(RESTORES.begin(self._partition, self._remaining()))
            self._read(consumer, progress)
        return progress.rows

    def _remaining(self) -> int:
        return sum(max(0, self._ends[topic] - table.next_offset) for topic, table in self._tables.items())

    def _read(self, consumer: Consumer, progress: Progress) -> None:
        consumer.assign(
            [TopicPartition(topic, self._partition, table.next_offset) for topic, table in self._tables.items()]
        )
        deadline = time.monotonic() + _STALLED_SECONDS
        while self._unfinished:
            # consume(n, timeout) would wait for the whole time-out unless n messages are there.
            first = consumer.poll(1.0)
            rows = 0
            if first is not None:
                for topic, messages in groupby([first, *consumer.consume(_BATCH, 0)], Message.topic):
                    rows += self._write(topic, list(messages))
                deadline = time.monotonic() + _STALLED_SECONDS
            elif time.monotonic() > deadline:
                raise Doubt(f"partition {self._partition}: nothing came of {', '.join(sorted(self._unfinished))}")
            progress.advance(rows, self._remaining())

    def _write(self, topic: str | None, messages: Sequence[Message]) -> int:
        """Write successive messages of one topic, and return how many rows they are."""
        # A row costs little more than a microsecond, so nothing is called for each that can be left out.
        keys = list(map(Message.key, messages))
        rows = messages
        if None in keys:  # ours are written, and a compacted topic takes no others: it is an end, or an error
            for message in messages:
                self._heed(message)
            rows = [message for message in messages if message.error() is None]
            keys = list(map(Message.key, rows))
        last = messages[-1].offset()
        assert topic is not None
        assert last is not None
        if messages[-1].error() is not None:
            last -= 1  # records behind the last row are markers
        changes = zip(cast("list[bytes]", keys), map(Message.value, rows), strict=True)
        self._tables[topic].write(changes, last)
        return len(rows)

    def _heed(self, message: Message) -> None:
        """Note an end; raises KafkaException at an error."""
        error, topic, offset = message.error(), message.topic(), message.offset()
        if error is None:
            assert message.key() is not None, "rows have keys"
        elif error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - the name of the code
            raise KafkaException(error)
        elif topic is not None and offset is not None and offset >= self._ends[topic]:
            self._unfinished.discard(topic)
