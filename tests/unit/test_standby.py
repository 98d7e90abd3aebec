"""A standby's rows are its changelog's, and nothing is written while the group moves partitions."""

import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from app.core.policy import TABLE_POLICY
from app.processor import TABLES
from app.settings import Settings
from app.stream import standby
from app.stream.faust_app import SizerApp
from app.stream.standby import StandbyReader
from app.stream.store import LocalTable, LocalTables
from app.stream.tables import RowStore
from tests.unit.clients import Consumer, Ended, Message, replaced, until

CHANGELOG = "orders-changelog"


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return replaced(standby, monkeypatch)


@pytest.fixture
def table(tmp_path: Path) -> LocalTable:
    return LocalTables(tmp_path, dict.fromkeys(TABLES, "id")).open("orders", 0)


def row(offset: int, key: bytes, value: bytes | None) -> Message:
    return Message(CHANGELOG, 0, offset, value, key)


def test_rows_are_written_from_where_the_local_ones_end(table: LocalTable, ended: list[str]) -> None:
    table.write([(b"a", b"0")], 4)

    async def play() -> None:
        end = Message(CHANGELOG, 0, 10, code=KafkaError._PARTITION_EOF)  # behind a transaction's marker
        Consumer.prepared = (row(5, b"b", b"1"), row(7, b"a", None), row(8, b"c", b"2"), end)
        made = StandbyReader(Settings())
        made.assign({(CHANGELOG, 0): table})
        await until(lambda: table.next_offset == 10)
        await made.stop()

    asyncio.run(play())
    assert Consumer.latest.assigned == [{(CHANGELOG, 0): 5}]
    assert dict(table.scan(b"")) == {b"b": b"1", b"c": b"2"}
    assert ended == []


def test_nothing_is_written_once_it_has_stopped(
    table: LocalTable, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next writer may be the partition's task: it must find the last write finished, and no other after it."""
    is_writing, may_write = threading.Event(), threading.Event()
    write = LocalTable.write

    def slow(self: LocalTable, *arguments: Any) -> None:
        is_writing.set()
        may_write.wait(20)
        write(self, *arguments)

    monkeypatch.setattr(LocalTable, "write", slow)

    async def play() -> None:
        Consumer.prepared = (row(0, b"a", b"1"),)
        made = StandbyReader(Settings())
        made.assign({(CHANGELOG, 0): table})
        await until(is_writing.is_set)
        stopping = asyncio.create_task(made.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        Consumer.latest.coming.append(row(1, b"a", b"2"))
        may_write.set()
        await stopping
        assert table.get(b"a") == b"1"
        Consumer.prepared = (row(1, b"a", b"2"),)
        made.assign({(CHANGELOG, 0): table})
        await until(lambda: table.get(b"a") == b"2")
        await made.stop()

    asyncio.run(play())
    assert ended == []


def test_one_that_is_stopped_at_once_does_not_begin(table: LocalTable, ended: list[str]) -> None:
    async def play() -> None:
        made = StandbyReader(Settings())
        made.assign({(CHANGELOG, 0): table})
        await asyncio.sleep(0)  # it waits
        await made.stop()
        Consumer.prepared = (row(0, b"a", b"1"),)
        made.assign({(CHANGELOG, 0): table})
        await made.stop()
        for _ in range(10):
            await asyncio.sleep(0)
        assert table.next_offset == 0
        assert made._idle.is_set()

    asyncio.run(play())
    assert ended == []


def test_a_changelog_that_begins_later_by_now_is_read_from_there(
    table: LocalTable, ended: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table.write([(b"a", b"0")], 4)

    async def play() -> None:
        Consumer.prepared = (Message(CHANGELOG, 0, 5, code=KafkaError._AUTO_OFFSET_RESET),)
        monkeypatch.setattr(Consumer, "watermarks", (9, 12))
        made = StandbyReader(Settings())
        made.assign({(CHANGELOG, 0): table})
        await until(lambda: table.next_offset == 9 and made._current is not None)
        await made.stop()

    asyncio.run(play())
    assert Consumer.latest.assigned == [{(CHANGELOG, 0): 9}]
    assert ended == []


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (KafkaError._AUTO_OFFSET_RESET, "ends at offset 3 in partition 0 but its standby was written up to 5"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "changelogs could not be read"),
    ],
)
def test_what_waiting_does_not_mend_ends_in_doubt(
    table: LocalTable, ended: list[str], code: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.write([(b"a", b"0")], 4)

    async def play() -> None:
        Consumer.prepared = (Message(CHANGELOG, 0, 5, code=code),)
        monkeypatch.setattr(Consumer, "watermarks", (0, 3))
        made = StandbyReader(Settings())
        made.assign({(CHANGELOG, 0): table})
        assert made._running is not None
        await asyncio.wait([made._running])
        assert isinstance(made._running.exception(), Ended)

    asyncio.run(play())
    assert len(ended) == 1
    assert told in ended[0]


def test_the_table_shows_the_owned_rows_and_takes_none(tmp_path: Path) -> None:
    local = LocalTables(tmp_path, dict.fromkeys(TABLES, "id"))
    app = SizerApp(Settings(data_dir=tmp_path), TABLE_POLICY)
    partitions: Any = SimpleNamespace(local_tables=local, tasks={0: None, 1: None})
    app.partitions = partitions
    store: RowStore = app.tables["orders"].data
    local.open("orders", 0).write([(b"b", b"1")], 3)
    local.open("orders", 1).write([(b"c", b"2")], 0)
    local.open("orders", 2).write([(b"standby", b"3")], 0)
    assert dict(store) == {b"b": b"1", b"c": b"2"}
    assert (store[b"c"], len(store)) == (b"2", 2)
    assert sorted(store.items()) == [(b"b", b"1"), (b"c", b"2")]
    assert b"b" in app.tables["orders"]
    assert b"standby" not in store
    with pytest.raises(KeyError):
        store[b"a"]
    with pytest.raises(TypeError, match="tasks"):
        store[b"a"] = b"1"
