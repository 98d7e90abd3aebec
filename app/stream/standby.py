"""Keeps the local rows of partitions that other workers own, so that taking one over restores next to nothing."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from app.errors import Doubt
from app.settings import Settings
from app.stream.clients import REQUEST_SECONDS, BrokerErrors, committed_consumer
from app.stream.doubt import exit_in_doubt
from app.stream.store import LocalTable

_READ_SECONDS = 0.1
"""How long a read waits for rows, and with it a rebalance at most."""
_READ_RECORDS = 5_000
_CONFIG = {
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    # A fetch waits for so much, or half a second: a standby costs little, and is half a second behind.
    "fetch.min.bytes": 64 * 1024,
    "fetch.wait.max.ms": 500,
}

_log = structlog.get_logger("sizer")

Tables = Mapping[tuple[str, int], LocalTable]
"""Local tables by the real name of their changelog and the partition."""


class StandbyReader:
    """One consumer for all standbys; it writes in a thread of its own, and never while a rebalance is going on."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected before there is a standby."""
        self._settings = settings
        self._errors = BrokerErrors()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="standby")
        self._tables: Tables = {}
        self._more = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._running: asyncio.Task[None] | None = None
        # Of the thread:
        self._consumer: Consumer | None = None
        self._current: Tables | None = None

    def assign(self, tables: Tables) -> None:
        """Keep these tables up to date from now on."""
        self._tables = dict(tables)
        if tables:
            self._more.set()
            if self._running is None:
                self._running = asyncio.create_task(self._run(), name="standby")

    async def stop(self) -> None:
        """Write nothing any more, and return when nothing is being written."""
        self._more.clear()
        await self._idle.wait()

    async def _run(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            while True:
                await self._more.wait()
                if not self._more.is_set():  # stopped before this got its turn
                    continue
                self._idle.clear()
                await loop.run_in_executor(self._executor, self._read, self._tables)
                self._idle.set()
        except asyncio.CancelledError:
            raise
        except Doubt as doubt:
            exit_in_doubt(str(doubt))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the rows would not be up to date any more
            exit_in_doubt("a standby could not be written", error=error)

    def _read(self, tables: Tables) -> None:
        """Write what comes within `_READ_SECONDS`; blocks."""
        try:
            consumer = self._consumer_of(tables)
            # consume(n, timeout) would wait for the whole time-out unless n messages are there.
            first = consumer.poll(_READ_SECONDS)
            if first is not None:
                self._write(consumer, tables, [first, *consumer.consume(_READ_RECORDS, 0)])
        except KafkaException as error:
            raise Doubt(f"the standbys' changelogs could not be read: {self._errors.explain(error)}") from None

    def _consumer_of(self, tables: Tables) -> Consumer:
        """Return a consumer that gives what follows on the tables' rows; a new one for each assignment."""
        if self._consumer is None or tables is not self._current:
            if self._consumer is not None:
                self._consumer.close()
            self._consumer = committed_consumer(self._settings, self._errors, _CONFIG)
            self._consumer.assign([TopicPartition(*where, table.next_offset) for where, table in tables.items()])
            self._current = tables
        return self._consumer

    def _write(self, consumer: Consumer, tables: Tables, messages: list[Message]) -> None:
        rows: defaultdict[Any, list[tuple[bytes, bytes | None]]] = defaultdict(list)
        offsets: dict[Any, int] = {}
        for message in messages:
            where: Any = (message.topic(), message.partition())
            error = message.error()
            if error is None:
                rows[where].append((message.key(), message.value()))  # type: ignore[arg-type]  # bytes, without a deserializer
                offsets[where] = message.offset() or 0
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the name of the code
                offsets[where] = (message.offset() or 0) - 1  # records behind the last row are markers
            elif error.code() == KafkaError._AUTO_OFFSET_RESET and where in tables:  # noqa: SLF001 - the name of the code
                self._begin_later(consumer, where, tables[where])
                self._current = None  # to be read from there
            elif error.fatal() or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise KafkaException(error)
            else:
                _log.debug("reading a changelog has trouble", topic=where[0], partition=where[1], error=error.str())
        for where, offset in offsets.items():
            if offset >= tables[where].next_offset:
                tables[where].write(rows[where], offset)

    def _begin_later(self, consumer: Consumer, where: tuple[str, int], table: LocalTable) -> None:
        """Go on where the changelog begins by now: what lay before has expired, and does so here by itself."""
        start, end = consumer.get_watermark_offsets(TopicPartition(*where), timeout=REQUEST_SECONDS)
        if start <= table.next_offset:
            raise Doubt(
                f"topic {where[0]} ends at offset {end} in partition {where[1]} but its standby was written up to"
                f" {table.next_offset}: it has lost committed records, or was created again"
            )
        table.begin_at(start)
