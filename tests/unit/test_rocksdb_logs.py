"""Damage in RocksDB's logs is found before RocksDB reads them; what a power cut leaves is none."""

import shutil
from pathlib import Path

import pytest

from app.stream.rocksdb_logs import find_damage
from app.stream.store import LocalTable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a database as a kill leaves it, its rows in the write-ahead log only, over several of its blocks."""
    table = LocalTable("orders", tmp_path / "live")
    for number in range(60):
        table.write([(b"%d" % number, bytes(range(256)) * 8)], number)
    shutil.copytree(tmp_path / "live", tmp_path / "killed")
    table.close()
    return tmp_path / "killed"


def logs(folder: Path) -> list[Path]:
    found = [*folder.glob("MANIFEST-*"), *folder.glob("*.log")]
    assert len(found) == 2
    return found


def test_what_a_kill_leaves_is_sound(folder: Path) -> None:
    assert find_damage(folder) is None
    assert LocalTable("orders", folder).next_offset == 60


def test_any_changed_byte_is_found_or_harmless(folder: Path, tmp_path: Path) -> None:
    """A changed length may be that of a record that was not written to its end: RocksDB stops there."""
    harmless = 0
    for file in logs(folder):
        sound = file.read_bytes()
        for offset in range(0, len(sound), 1 if len(sound) < 1_000 else 97):
            file.write_bytes(sound[:offset] + bytes([sound[offset] ^ 0x55]) + sound[offset + 1 :])
            if find_damage(folder) is None:
                harmless += 1
                copy = tmp_path / f"{file.name}-{offset}"
                shutil.copytree(folder, copy)
                table = LocalTable("orders", copy)
                assert {int(key) for key, _ in table.scan(b"")} == set(range(table.next_offset))
                table.close()
            file.write_bytes(sound)
    assert harmless < 20


def test_a_log_that_was_not_written_to_its_end_is_sound(folder: Path) -> None:
    (log,) = folder.glob("*.log")
    whole = log.read_bytes()
    for length in range(len(whole) - 5_000, len(whole), 101):
        log.write_bytes(whole[:length])
        assert find_damage(folder) is None
    assert LocalTable("orders", folder).next_offset in range(56, 60)


def test_damage_costs_the_rows_and_not_the_worker(folder: Path) -> None:
    (manifest,) = folder.glob("MANIFEST-*")
    manifest.write_bytes(b"\xa1" * len(manifest.read_bytes()))
    table = LocalTable("orders", folder)
    assert table.next_offset == 0
    table.write([(b"a", b"1")], 0)
    assert table.get(b"a") == b"1"
