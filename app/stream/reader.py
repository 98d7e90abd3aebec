"""Reads the input partitions that this worker owns, and gives what comes to their tasks.

By a librdkafka consumer that is assigned by hand, at the tasks' positions: aiokafka's fetching and Faust's way from
there to an agent cost more than two milliseconds of processor time for each fetch, however little it brings.
"""

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import structlog
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, KafkaException, Message, TopicPartition

from app.errors import Doubt
from app.processor import Record
from app.settings import Settings
from app.stream.clients import BrokerErrors, committed_consumer
from app.stream.doubt import exit_in_doubt
from app.stream.inbox import Chunk, Inbox
from app.stream.refusals import NOT_ALLOWED, lacking
from app.topics import INPUTS, SIGNALS

READY_LIMIT = 4_000
"""Records that wait to be processed, of all partitions together, beyond which nothing more is read."""
HELD_UP_LIMIT = 4_000
"""Signals of a partition that wait for fills, beyond which no more of them are read; the fills are."""

_READ_SECONDS = 0.1
"""How long a read waits for records; a new assignment is taken up by the next one."""
_READ_RECORDS = 2_000
_CONFIG = {
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    # Behind fills that were written in a transaction only the next fetch tells that nothing follows but its marker,
    # and signals wait for that.
    "fetch.wait.max.ms": 25,
    "queued.min.messages": READY_LIMIT,
    "fetch.error.backoff.ms": 100,
}
_DOUBTS = frozenset(
    {
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001 - the names of the codes
        KafkaError._LOG_TRUNCATION,  # noqa: SLF001 - as above
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
    }
)
"""What does not go away by waiting. Of all else librdkafka tells only that it is trying again."""

_log = structlog.get_logger("sizer")


class Reading(Protocol):
    """A partition's task, as far as reading concerns it."""

    inbox: Inbox

    def wake(self) -> None:
        """Process what is in the inbox."""


class _Assignment:
    """What is to be read, and how far it was read; a new one for each change."""

    def __init__(self, tasks: Mapping[int, Reading]) -> None:
        self.tasks = dict(tasks)
        self.positions = {
            (topic, partition): task.inbox.expected[topic] for partition, task in tasks.items() for topic in INPUTS
        }
        self.ends: dict[tuple[str, int], int] = {}
        """Where logs ended by the last that was told of it: only news need to be told on."""
        self.high_watermarks = dict(self.positions)
        """Where logs ended when they were last read."""


class InputReader:
    """One consumer for all owned partitions; what it cannot clear up ends the process in doubt."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected before there is something to be read."""
        self._settings = settings
        self._names = {topic: settings.topic(topic) for topic in INPUTS}
        self._logical = {name: topic for topic, name in self._names.items()}
        self._errors = BrokerErrors()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader")
        self._assignment = _Assignment({})
        self._more = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        # Of the thread:
        self._consumer: Consumer | None = None
        self._current: _Assignment | None = None
        self._paused: set[tuple[str, int]] = set()

    def assign(self, tasks: Mapping[int, Reading]) -> None:
        """Read for these tasks from now on, by partition, each from where its inbox ends."""
        self._assignment = _Assignment(tasks)
        self._more.set()
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="reader")

    def look(self) -> None:
        """Read on if there is room; to be called when records were taken from an inbox."""
        if not self._more.is_set() and self._has_room():
            self._more.set()

    def high_watermark(self, topic: str, partition: int) -> int:
        """Return where an input's log ended when it was last read (logical name), 0 if it is not being read."""
        return self._assignment.high_watermarks.get((topic, partition), 0)

    def close(self) -> None:
        """Read no more."""
        if self._running is not None:
            self._running.cancel()

    def _has_room(self) -> bool:
        tasks = self._assignment.tasks
        return bool(tasks) and sum(task.inbox.ready for task in tasks.values()) < READY_LIMIT

    async def _run(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            while True:
                await self._more.wait()
                assignment = self._assignment
                held = {
                    (SIGNALS, partition)
                    for partition, task in assignment.tasks.items()
                    if task.inbox.held_up >= HELD_UP_LIMIT
                }
                chunks = await loop.run_in_executor(self._executor, self._read, assignment, held)
                # What was read for an assignment of before is read again, from where the inboxes end now.
                if assignment is self._assignment:
                    self._give(assignment, chunks)
                    if not self._has_room():
                        self._more.clear()
        except asyncio.CancelledError:
            raise
        except Doubt as doubt:
            exit_in_doubt(str(doubt))
        except BaseException as error:  # noqa: BLE001 - whatever it is, nothing would be read any more
            exit_in_doubt("the inputs could not be read", error=error)

    def _give(self, assignment: _Assignment, chunks: list[Chunk]) -> None:
        """Offer everything before any task is woken, so that fills come before the signals that came with them."""
        for chunk in chunks:
            assignment.tasks[chunk.partition].inbox.offer(chunk)
        for partition in {chunk.partition for chunk in chunks}:
            assignment.tasks[partition].wake()

    def _read(self, assignment: _Assignment, held: set[tuple[str, int]]) -> list[Chunk]:
        """Return what has come, at once or within `_READ_SECONDS`; blocks. `held`: of what nothing more is wanted."""
        chunks: list[Chunk] = []
        try:
            consumer = self._consumer_of(assignment)
            if held != self._paused:
                self._hold(consumer, held)
            # consume(n, timeout) would wait for the whole time-out unless n messages are there.
            while not chunks and (first := consumer.poll(_READ_SECONDS)) is not None:
                chunks = self._chunks(consumer, assignment, [first, *consumer.consume(_READ_RECORDS, 0)])
        except KafkaException as error:
            raise Doubt(f"the inputs could not be read: {self._errors.explain(error)}") from None
        return chunks

    def _consumer_of(self, assignment: _Assignment) -> Consumer:
        """Return a consumer that gives what was fetched for this assignment, and nothing of a former one.

        A new one for each: that librdkafka keeps the two apart need not be trusted, and the first record is there
        sooner than after a change of assignment (22 ms on average against 130, and never 2 s).
        """
        if self._consumer is None or assignment is not self._current:
            if self._consumer is not None:
                self._consumer.close()
            self._consumer = committed_consumer(self._settings, self._errors, _CONFIG)
            self._consumer.assign([self._place(*where, offset) for where, offset in assignment.positions.items()])
            self._current, self._paused = assignment, set()
        return self._consumer

    def _place(self, topic: str, partition: int, offset: int = -1001) -> TopicPartition:
        return TopicPartition(self._names[topic], partition, offset)

    def _hold(self, consumer: Consumer, held: set[tuple[str, int]]) -> None:
        """Pause what is held and let the rest go on. What a pause throws away is fetched again by librdkafka."""
        if pause := held - self._paused:
            consumer.pause([self._place(*where) for where in pause])
        if resume := self._paused - held:
            consumer.resume([self._place(*where) for where in resume])
        self._paused = held

    def _chunks(self, consumer: Consumer, assignment: _Assignment, messages: list[Message]) -> list[Chunk]:
        """Make one chunk of what came of each partition, if it is any news, and move the positions behind it."""
        positions = assignment.positions
        found: dict[tuple[str, int], list[Record]] = {}
        log_ends: dict[tuple[str, int], int] = {}
        timestamps: dict[tuple[str, int], int] = {}
        for message in messages:
            where: Any = (message.topic(), message.partition())
            error = message.error()
            if error is None:
                records = found.get(where)
                if records is None:
                    records = found[where] = []
                    kind, timestamp = message.timestamp()
                    if kind != TIMESTAMP_NOT_AVAILABLE:
                        timestamps[where] = timestamp
                records.append(
                    Record(
                        self._logical[where[0]],
                        where[1],
                        message.offset(),  # type: ignore[arg-type]  # a record that was read has one
                        message.key(),
                        message.value(),
                        message.headers() or (),  # type: ignore[arg-type]  # a list of pairs
                    )
                )
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the name of the code
                found.setdefault(where, [])
                log_ends[where] = message.offset() or 0
            elif error.fatal() or error.code() in _DOUBTS:
                raise Doubt(self._explain(where, error, positions))
            else:
                _log.debug("reading has trouble", topic=where[0], partition=where[1], error=error.str())
        chunks = []
        for where, records in found.items():
            name, partition = where
            topic = self._logical[name]
            position = positions[topic, partition]
            # The end of the log is told once, and may lie before records that were appended since.
            next_position = max(records[-1].offset + 1 if records else position, log_ends.get(where, position))
            high_watermark = self._high_watermark(consumer, *where)
            is_last = next_position == log_ends.get(where) or next_position >= high_watermark
            if records or next_position > position or (is_last and assignment.ends.get(where) != next_position):
                begun = timestamps.get(where)
                chunks.append(Chunk(topic, partition, position, next_position, is_last, records, begun))
            positions[topic, partition] = next_position
            assignment.high_watermarks[topic, partition] = max(high_watermark, next_position)
            if is_last:
                assignment.ends[where] = next_position
        return chunks

    def _high_watermark(self, consumer: Consumer, name: str, partition: int) -> int:
        """Return where the log ended when it was last fetched, open transactions and all."""
        return consumer.get_watermark_offsets(TopicPartition(name, partition), cached=True)[1]

    def _explain(self, where: tuple[str | None, int | None], error: KafkaError, positions: Any) -> str:
        name, partition = where
        if error.code() in NOT_ALLOWED:
            is_group = error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED
            resource = f"group {self._settings.app_id}" if is_group else f"topic {name}"
            return str(lacking(self._settings, "worker", f"Read on {resource}"))
        place = positions.get((self._logical.get(name or ""), partition))
        if place is None:
            return f"the inputs could not be read: {error.str()}"
        return (
            f"partition {partition}: {name} cannot be read from offset {place}: {error.str()}; its records may"
            " have been deleted before they were processed, or the topic was created again"
        )
