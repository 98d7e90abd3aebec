"""A standby's rows are its changelog, without a gap, and an owner's rows are nobody else's business."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from faust.types import TP

from app.core.policy import TABLE_POLICY
from app.processor import TABLES
from app.settings import Settings
from app.stream.faust_app import SizerApp
from app.stream.inbox import Chunk
from app.stream.store import LocalTables
from app.stream.tables import RowStore


class Row(NamedTuple):
    offset: int
    key: bytes
    value: bytes | None


class Standby:
    """The store of the table `orders`, with its surroundings replaced."""

    def __init__(self, folder: Path) -> None:
        self.app = SizerApp(Settings(data_dir=folder), TABLE_POLICY)
        self.local = LocalTables(folder, dict.fromkeys(TABLES, "id"))
        self.mended: list[tuple[str, TP]] = []
        self.owned: set[int] = set()
        partitions: Any = SimpleNamespace(
            local_tables=self.local, owns=self.owned.__contains__, tasks={0: None, 1: None}
        )
        self.app.partitions = partitions
        consumer: Any = SimpleNamespace(mend_standby=lambda table, tp: self.mended.append((table, tp)))
        self.app._consumer = consumer
        self.store: RowStore = self.app.tables["orders"].data

    def apply(self, position: int, next_position: int, *rows: Row, partition: int = 0) -> None:
        tp = TP("changelog", partition)
        event: Any = SimpleNamespace(
            message=SimpleNamespace(tp=tp, partition=partition),
            value=Chunk(*tp, position, next_position, next_position, rows),
        )
        self.store.apply_changelog_batch([event], None, None)


@pytest.fixture
def standby(tmp_path: Path) -> Standby:
    return Standby(tmp_path)


def test_chunks_are_applied_in_order_and_overlaps_once(standby: Standby) -> None:
    assert standby.store.persisted_offset(TP("changelog", 0)) is None
    standby.apply(0, 3, Row(0, b"a", b"1"), Row(1, b"b", b"1"))
    standby.apply(1, 5, Row(1, b"b", b"0"), Row(3, b"a", None), Row(4, b"c", b"2"))
    standby.apply(0, 3, Row(0, b"a", b"1"))
    assert dict(standby.store) == {b"b": b"1", b"c": b"2"}
    assert (standby.store[b"c"], len(standby.store)) == (b"2", 2)
    assert sorted(standby.store.items()) == [(b"b", b"1"), (b"c", b"2")]
    assert b"b" in standby.app.tables["orders"]
    assert b"a" not in standby.store
    assert standby.store.persisted_offset(TP("changelog", 0)) == 4
    assert standby.mended == []
    with pytest.raises(KeyError):
        standby.store[b"a"]


def test_a_gap_is_read_again_not_jumped_over(standby: Standby) -> None:
    standby.apply(0, 3, Row(0, b"a", b"1"))
    standby.apply(4, 6, Row(4, b"b", b"1"))
    assert standby.mended == [("orders", TP("changelog", 0))]
    assert dict(standby.store) == {b"a": b"1"}
    assert standby.store.persisted_offset(TP("changelog", 0)) == 2


def test_what_the_changelog_has_lost_by_age_is_no_gap(standby: Standby) -> None:
    standby.local.open("orders", 0).begin_at(4)
    standby.apply(4, 6, Row(4, b"b", b"1"))
    assert standby.mended == []
    assert dict(standby.store) == {b"b": b"1"}


def test_an_owned_partition_is_not_touched(standby: Standby) -> None:
    standby.owned.add(1)
    standby.apply(0, 3, Row(0, b"a", b"old"), partition=1)
    assert dict(standby.store) == {}
    with pytest.raises(TypeError, match="tasks"):
        standby.store[b"a"] = b"1"
