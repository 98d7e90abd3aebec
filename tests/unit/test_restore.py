"""Restoring reads a changelog to its end, whatever comes in one batch, and tells how it gets on."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from structlog.testing import capture_logs

from app.settings import Settings
from app.stream import progress, restore
from app.stream.progress import RESTORES
from app.stream.store import LocalTable
from app.stream.topics import changelog_topic
from tests.simulation.cluster import Entry, State
from tests.simulation.producing import Message

TABLES = ("orders", "portfolios")
SETTINGS = Settings()
ORDERS, PORTFOLIOS = (changelog_topic(SETTINGS, table) for table in TABLES)


def row(topic: str, offset: int, key: bytes, value: bytes | None) -> Message:
    return Message(topic, 0, offset, Entry(offset, key, value, (), 0, None, State.COMMITTED), None)


def end(topic: str, offset: int) -> Message:
    return Message(topic, 0, offset, None, KafkaError._PARTITION_EOF)


class Batches:
    """A consumer that gives batches."""

    def __init__(self, *batches: list[Message]) -> None:
        self.batches = [*batches]
        self.begun: dict[str, int] = {}

    def assign(self, partitions: list[TopicPartition]) -> None:
        self.begun = {where.topic: where.offset for where in partitions}

    def poll(self, timeout: float) -> Message | None:
        return self.batches[0].pop(0)

    def consume(self, count: int, timeout: float) -> list[Message]:
        return self.batches.pop(0)


@pytest.fixture(params=["as it is", "loading"])
def tables(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, LocalTable]:
    monkeypatch.setattr(restore, "Message", Message)
    monkeypatch.setattr(restore, "_LOADED_ROWS", 1 if request.param == "loading" else 1_000)
    return {table: LocalTable(table, tmp_path / table) for table in TABLES}


def run(tables: Mapping[str, LocalTable], consumer: Batches) -> int:
    ends = {"orders": 9, "portfolios": 4}
    return restore._Restoration(SETTINGS, 0, tables, ends).run(consumer)  # type: ignore[arg-type]  # like a consumer


def test_rows_deletions_and_ends_may_come_in_any_batches(tables: dict[str, LocalTable]) -> None:
    tables["orders"].write([(b"old", b"1")], 1)
    consumer = Batches(
        [row(ORDERS, 2, b"a", b"1"), row(ORDERS, 3, b"b", b"1"), row(PORTFOLIOS, 0, b"p", b"1"), end(ORDERS, 5)],
        [row(ORDERS, 5, b"a", b"2"), row(ORDERS, 6, b"b", None), end(PORTFOLIOS, 4), row(ORDERS, 7, b"c", b"1")],
        [end(ORDERS, 9)],
    )
    assert run(tables, consumer) == 6
    assert consumer.begun == {ORDERS: 2, PORTFOLIOS: 0}
    assert list(tables["orders"].scan(b"")) == [(b"a", b"2"), (b"c", b"1"), (b"old", b"1")]
    assert list(tables["portfolios"].scan(b"")) == [(b"p", b"1")]
    assert [tables[table].next_offset for table in TABLES] == [9, 4], "markers are not read again"


def test_an_error_ends_it_and_leaves_what_was_written(tables: dict[str, LocalTable]) -> None:
    consumer = Batches([row(ORDERS, 0, b"a", b"1")], [Message(ORDERS, 0, None, None, KafkaError.UNKNOWN)])
    with pytest.raises(KafkaException):
        run(tables, consumer)
    assert (tables["orders"].next_offset, list(tables["orders"].scan(b""))) == (1, [(b"a", b"1")])
    assert RESTORES.remaining == 0, "nothing is being restored any more"


def test_progress_is_told_and_counted(tables: dict[str, LocalTable], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_TOLD_SECONDS", 1e-9)
    rows, partitions = RESTORES.rows, RESTORES.partitions
    consumer = Batches([row(ORDERS, 0, b"a", b"1"), row(ORDERS, 1, b"b", b"1")], [end(PORTFOLIOS, 4), end(ORDERS, 9)])
    with capture_logs() as told:
        run(tables, consumer)
    assert [(line["event"], line["partition"], line["rows"]) for line in told] == [
        ("restoring", 0, 2),
        ("restoring", 0, 2),
        ("restored", 0, 2),
    ]
    assert [line["remaining"] for line in told[:2]] == [7 + 4, 0]
    assert told[0]["rows_per_second"] > 0
    assert (RESTORES.rows - rows, RESTORES.partitions - partitions, RESTORES.remaining) == (2, 1, 0)
