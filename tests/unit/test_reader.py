"""Reading the inputs: for the present assignment only, fills before signals, no further than there is room."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from confluent_kafka import KafkaError

from app.settings import Settings
from app.stream import reader
from app.stream.inbox import Inbox
from app.stream.reader import InputReader
from app.topics import FILLS, SIGNALS
from tests.unit.clients import Consumer, Ended, Message, replaced, until


class Task:
    """Notes what is in its inbox each time it is woken."""

    def __init__(self, signals: int = 0, fills: int = 0, *, fills_end: int | None = None) -> None:
        ends = {SIGNALS: signals, FILLS: fills if fills_end is None else fills_end}
        self.inbox = Inbox({SIGNALS: signals, FILLS: fills}, ends)
        self.woken = asyncio.Event()

    def wake(self) -> None:
        self.woken.set()

    async def taken(self) -> list[tuple[str, int]]:
        """Return what can be taken after it was woken."""
        await asyncio.wait_for(self.woken.wait(), 10)
        self.woken.clear()
        found = []
        while (piece := self.inbox.take(1_000)) is not None:
            found += [(piece.topic, record.offset) for record in piece.records]
        return found


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return replaced(reader, monkeypatch)


@asynccontextmanager
async def reading(*messages: Message, tasks: dict[int, Task]) -> AsyncIterator[InputReader]:
    """Read with these messages coming first."""
    Consumer.prepared = messages
    made = InputReader(Settings(topic_prefix="x."))
    made.assign(tasks)
    await until(lambda: made._consumer is not None)
    yield made
    made.close()


def record(topic: str, offset: int, partition: int = 0) -> Message:
    return Message(f"x.{topic}", partition, offset, b"{}")


def end(topic: str, offset: int, partition: int = 0) -> Message:
    return Message(f"x.{topic}", partition, offset, code=KafkaError._PARTITION_EOF)


def run(play: Callable[[], Any]) -> None:
    asyncio.run(asyncio.wait_for(play(), 20))


def test_it_reads_from_where_the_inboxes_end_and_gives_fills_first(ended: list[str]) -> None:
    async def play() -> None:
        task = Task(signals=7, fills=3)
        async with reading(record(SIGNALS, 7), record(FILLS, 3), record(FILLS, 4), tasks={0: task}):
            assert await task.taken() == [(FILLS, 3), (FILLS, 4), (SIGNALS, 7)]
            assert Consumer.latest.assigned == [{("x.signals", 0): 7, ("x.fills", 0): 3}]

    run(play)
    assert ended == []


def test_it_tells_how_old_the_first_record_is_and_where_logs_end(ended: list[str]) -> None:
    async def play() -> None:
        task = Task(signals=7, fills=3)
        async with reading(tasks={0: task}) as made:
            assert made.high_watermark(SIGNALS, 0) == 7
            assert made.high_watermark(SIGNALS, 1) == 0
            Consumer.latest.watermarks = (0, 500)
            Consumer.latest.coming.extend([record(SIGNALS, 7), record(SIGNALS, 8), end(FILLS, 3)])
            await until(lambda: task.inbox.expected[SIGNALS] == 9)
            assert task.inbox.oldest(SIGNALS) == 7  # time stamps here are offsets
            assert made.high_watermark(SIGNALS, 0) == 500

    run(play)
    assert ended == []


def test_signals_wait_for_fills_that_are_known_to_follow(ended: list[str]) -> None:
    async def play() -> None:
        task = Task()
        async with reading(tasks={0: task}):
            Consumer.latest.watermarks = (0, 2)  # a record or a marker follows
            Consumer.latest.coming.extend([record(SIGNALS, 0), record(FILLS, 0)])
            assert await task.taken() == [(FILLS, 0)]
            Consumer.latest.coming.append(end(FILLS, 2))
            assert await task.taken() == [(SIGNALS, 0)]
            assert task.inbox.expected[FILLS] == 2

    run(play)
    assert ended == []


def test_an_end_that_was_told_before_a_record_is_none(ended: list[str]) -> None:
    async def play() -> None:
        task = Task()
        async with reading(tasks={0: task}):
            Consumer.latest.watermarks = (0, 5)
            Consumer.latest.coming.extend([end(FILLS, 0), record(FILLS, 0), record(SIGNALS, 0)])
            assert await task.taken() == [(FILLS, 0)]
            assert task.inbox.held_up == 1

    run(play)
    assert ended == []


def test_what_was_read_for_a_former_assignment_is_read_again(ended: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        former, latter = Task(), Task()
        read = InputReader._read

        def read_late(self: InputReader, *arguments: Any) -> Any:
            chunks = read(self, *arguments)
            if chunks:  # the group assigns anew while this is on its way
                loop.call_soon_threadsafe(self.assign, {0: latter})
            return chunks

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(InputReader, "_read", read_late)
        async with reading(record(SIGNALS, 0), record(SIGNALS, 1), tasks={0: former}) as made:
            await until(lambda: made._assignment.tasks == {0: latter})
            monkeypatch.setattr(InputReader, "_read", read)
            await until(lambda: made._current is made._assignment)
            Consumer.latest.coming.append(record(SIGNALS, 0))
            assert await latter.taken() == [(SIGNALS, 0)]
            assert not former.woken.is_set()
            assert Consumer.latest.assigned[-1] == {("x.signals", 0): 0, ("x.fills", 0): 0}

    run(play)
    assert ended == []


def test_no_more_is_read_than_there_is_room(ended: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "READY_LIMIT", 2)
    monkeypatch.setattr(reader, "_READ_RECORDS", 1)

    async def play() -> None:
        task = Task()
        async with reading(*(record(SIGNALS, offset) for offset in range(5)), tasks={0: task}) as made:
            await until(lambda: not made._more.is_set())
            assert (task.inbox.ready, len(Consumer.latest.coming)) == (2, 3)
            assert await task.taken() == [(SIGNALS, 0), (SIGNALS, 1)]
            made.look()
            assert await task.taken() == [(SIGNALS, 2), (SIGNALS, 3)]

    run(play)
    assert ended == []


def test_signals_that_wait_for_fills_leave_room_for_them(ended: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "HELD_UP_LIMIT", 2)

    async def play() -> None:
        task = Task(fills_end=1)
        async with reading(record(SIGNALS, 0), record(SIGNALS, 1), tasks={0: task}):
            assert await task.taken() == []
            await until(lambda: bool(Consumer.latest.calls))
            Consumer.latest.coming.append(record(FILLS, 0))
            assert await task.taken() == [(FILLS, 0), (SIGNALS, 0), (SIGNALS, 1)]
            await until(lambda: len(Consumer.latest.calls) == 2)
            assert Consumer.latest.calls == [("pause", [("x.signals", 0)]), ("resume", [("x.signals", 0)])]

    run(play)
    assert ended == []


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (
            Message("x.signals", 0, 5, code=KafkaError._AUTO_OFFSET_RESET),
            "partition 0: x.signals cannot be read from offset 5:",
        ),
        (Message("x.fills", 0, 0, code=KafkaError.OFFSET_OUT_OF_RANGE), "x.fills cannot be read from offset 0:"),
        (
            Message("x.fills", 0, 0, code=KafkaError.TOPIC_AUTHORIZATION_FAILED),
            "User:ANONYMOUS is not allowed Read on topic x.fills: ",
        ),
        (
            Message(None, None, 0, code=KafkaError.GROUP_AUTHORIZATION_FAILED),
            "User:ANONYMOUS is not allowed Read on group position-sizer: ",
        ),
        (record(SIGNALS, 3), "partition 0: signals was read from offset 3 instead of 5"),
    ],
)
def test_what_waiting_does_not_mend_ends_in_doubt(ended: list[str], trouble: Message, told: str) -> None:
    async def play() -> None:
        async with reading(trouble, tasks={0: Task(signals=5)}) as made:
            assert made._running is not None
            await asyncio.wait([made._running])
            assert isinstance(made._running.exception(), Ended)

    run(play)
    assert len(ended) == 1
    assert told in ended[0]


def test_what_waiting_does_mend_is_waited_for(ended: list[str]) -> None:
    async def play() -> None:
        task = Task()
        trouble = Message(None, None, 0, code=KafkaError._ALL_BROKERS_DOWN)
        async with reading(trouble, record(SIGNALS, 0), tasks={0: task}):
            assert await task.taken() == [(SIGNALS, 0)]

    run(play)
    assert ended == []
