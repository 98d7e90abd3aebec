"""The local copy of a table: rows and changelog offset agree, whatever the process dies of; damage is no loss."""

import random
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import Doubt, UserError
from app.processor import TABLES
from app.stream import store
from app.stream.data_dir import own
from app.stream.store import LocalTable, LocalTables, PartitionStore

WRITER = """
import sys
from pathlib import Path
from app.stream.store import LocalTable
table = LocalTable("orders", Path(sys.argv[1]))
for offset in range(10**9):
    table.write([(b"%d" % (offset % 100), b"%d" % offset), (b"last", b"%d" % offset)], offset)
    if offset == 1000:
        print("writing", flush=True)
"""


LOADER = """
import os, sys
from pathlib import Path
from app.stream.store import LocalTable
path = Path(sys.argv[1])
table = LocalTable("orders", path)
table.write([(b"before", b"1")], 0)
with table.loading():
    known = len(list(path.glob("*.sst")))
    for offset in range(1, 10**9):
        table.write([(b"%09d" % offset, os.urandom(10_000)), (b"last", b"%d" % offset)], offset)
        if offset % 100 == 0 and len(list(path.glob("*.sst"))) > known + 1:  # one is complete
            print("writing", flush=True)
            if sys.argv[2] == "loaded":
                break
for offset in range(offset + 1, 10**9):
    table.write([(b"%09d" % offset, b""), (b"last", b"%d" % offset)], offset)
    if offset % 1000 == 0:
        print("logged", flush=True)
"""


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_there_again_with_their_offset(name: str, tmp_path: Path) -> None:
    table = LocalTable(name, tmp_path / "t")
    assert table.next_offset == 0
    table.write([(b"a", b"1"), (b"b", b"2"), (b"c", b"3")], 6)
    table.write([(b"b", None), (b"c", b"4")], 9)
    table.close()
    again = LocalTable(name, tmp_path / "t")
    assert again.next_offset == 10
    assert again.written_at > 0
    assert (again.get(b"a"), again.get(b"b")) == (b"1", None)
    assert list(again.scan(b"")) == [(b"a", b"1"), (b"c", b"4")]
    assert list(again.scan(b"b")) == [(b"c", b"4")]
    again.clear()
    assert (again.next_offset, list(again.scan(b""))) == (0, [])


@pytest.mark.parametrize("name", TABLES)
def test_all_tables_share_one_memory_also_those_that_were_there_before(name: str, tmp_path: Path) -> None:
    for _ in range(2):
        tables = [LocalTable(name, tmp_path / which) for which in ("a", "b")]
        for table in tables:
            table.write([(b"a", b"1")], 0)
        tables[0]._db.flush()
        assert tables[0].get(b"a") == b"1"
        used = [table._db.property_int_value("rocksdb.block-cache-usage") for table in tables]
        assert used[0] == used[1] > 0
        assert tables[1]._db.property_int_value("rocksdb.block-cache-capacity") == store.MEMORY_BYTES
        for table in tables:
            table.close()


@pytest.mark.parametrize("name", TABLES)
def test_what_is_on_the_disk_beside_the_rows_does_not_grow_with_what_was_ever_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_WRITE_BUFFER_BYTES", 64 * 1024)
    monkeypatch.setattr(store, "_TOLD_BYTES", 32 * 1024)
    table = LocalTable(name, tmp_path / "t")
    for number in range(100):
        table.write([(b"%03d" % row, random.randbytes(200)) for row in range(300)], number)
    table.close()
    files = [file for file in (tmp_path / "t").iterdir() if file.suffix != ".sst"]
    assert sum(file.stat().st_size for file in files) < 200_000


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_is_opened_again_keeps_its_filters_and_the_shared_memory(name: str, tmp_path: Path) -> None:
    for number in range(3):
        table = LocalTable(name, tmp_path / "t")
        table.write([(b"a", b"1")], number)
        table.close()
        options = max((tmp_path / "t").glob("OPTIONS-*")).read_text()
        assert "filter_policy=bloomfilter" in options
        capacities = re.findall(r"  capacity : (\d+)", (tmp_path / "t" / "LOG").read_text())
        assert set(capacities) == {str(store.MEMORY_BYTES)}


def test_a_kill_leaves_rows_and_offset_in_agreement(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "t"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    table = LocalTable("orders", tmp_path / "t")
    assert table.next_offset > 1000
    assert table.get(b"last") == b"%d" % (table.next_offset - 1)


@pytest.mark.parametrize("at", ["writing", "loaded"])
def test_a_kill_while_loading_or_after_it_leaves_all_rows_up_to_the_offset(at: str, tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", LOADER, tmp_path / "t", at], stdout=subprocess.PIPE) as loader:
        assert loader.stdout is not None
        assert loader.stdout.readline() == b"writing\n"
        if at == "loaded":
            assert loader.stdout.readline() == b"logged\n"
        loader.send_signal(signal.SIGKILL)
        loader.wait()
    table = LocalTable("orders", tmp_path / "t")
    last = table.next_offset - 1
    assert last > 100
    assert table.get(b"before") == b"1"
    assert table.get(b"last") == b"%d" % last
    rows = [key for key, _ in table.scan(b"") if key not in (b"before", b"last")]
    assert rows == [b"%09d" % offset for offset in range(1, last + 1)]


@pytest.mark.parametrize("name", TABLES)
def test_what_is_loaded_is_there(name: str, tmp_path: Path) -> None:
    table = LocalTable(name, tmp_path / "t")
    table.write([(b"a", b"1"), (b"b", b"1")], 3)
    with table.loading():
        assert table.next_offset == 4
        table.write([(b"a", b"2"), (b"b", None), (b"c", b"1")], 6)
        table.write([(b"c", b"2")], 7)
    assert list(table.scan(b"")) == [(b"a", b"2"), (b"c", b"2")]
    table.write([(b"d", b"1")], 8)
    table.close()
    again = LocalTable(name, tmp_path / "t")
    assert (again.next_offset, list(again.scan(b""))) == (9, [(b"a", b"2"), (b"c", b"2"), (b"d", b"1")])


def test_a_table_that_is_found_damaged_when_it_is_to_be_loaded_is_restored_from_the_beginning(tmp_path: Path) -> None:
    table = LocalTable("orders", tmp_path / "t")
    table.write([(b"a", b"1")], 6)
    (tmp_path / "t" / "CURRENT").write_text("damaged")
    with table.loading():
        assert table.next_offset == 0
        table.write([(b"b", b"1")], 7)
    assert (table.next_offset, list(table.scan(b""))) == (8, [(b"b", b"1")])


def test_a_damaged_table_is_empty_not_an_error(tmp_path: Path) -> None:
    table = LocalTable("orders", tmp_path / "t")
    table.write([(b"a", b"1")], 6)
    table.close()
    (tmp_path / "t" / "CURRENT").write_text("damaged")
    assert LocalTable("orders", tmp_path / "t").next_offset == 0


def test_damage_that_is_found_while_reading_is_a_doubt_and_mended_by_the_next_start(tmp_path: Path) -> None:
    table = LocalTable("orders", tmp_path / "t")
    for number in range(5_000):
        table.write([(b"%06d" % number, random.randbytes(400))], number)
    table.close()
    rows = max((tmp_path / "t").glob("*.sst"), key=lambda file: file.stat().st_size)
    with rows.open("r+b") as file:
        file.seek(rows.stat().st_size // 2)
        file.write(bytes(64))
    table = LocalTable("orders", tmp_path / "t")
    assert table.get(b"000001") is not None
    with pytest.raises(Doubt, match="checksum mismatch"):
        sum(1 for _ in table.scan(b""))
    table.close()
    assert LocalTable("orders", tmp_path / "t").next_offset == 0


def test_a_full_disk_is_a_doubt_that_says_so(tmp_path: Path) -> None:
    table = LocalTable("orders", tmp_path / "t")
    table.write([(b"a", b"1")], 6)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, before[1]))
    try:
        with pytest.raises(Doubt, match="is the disk full"):
            table.write([(b"a", b"2")], 7)
        with pytest.raises(Doubt, match="could not be opened"):
            LocalTable("orders", tmp_path / "u")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with pytest.raises(Doubt, match="could not be closed"):
        table.close()
    again = LocalTable("orders", tmp_path / "t")
    assert (again.next_offset, again.get(b"a")) == (7, b"1")


def test_tables_of_a_topic_that_is_no_more_are_removed(tmp_path: Path) -> None:
    former = LocalTables(tmp_path, dict.fromkeys(TABLES, "former"))
    rows = PartitionStore(former.partition(3))
    former.open("orders", 3).write([(b"a", b"1")], 0)
    assert rows.get("orders", b"a") == b"1"
    assert list(rows.scan("orders", b"")) == [(b"a", b"1")]
    former.close_all_but([3])
    assert rows.get("orders", b"a") == b"1"
    former.close_all_but()
    now = LocalTables(tmp_path, dict.fromkeys(TABLES, "now"))
    assert not list(tmp_path.glob("*/former"))
    assert now.open("orders", 3).next_offset == 0


def test_a_data_folder_has_one_owner(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    held = own(folder)
    with pytest.raises(UserError, match="in use by another worker"):
        own(folder)
    held.close()
    own(folder).close()
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        own(blocked / "below")
