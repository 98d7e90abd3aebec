"""The local copy of a table's partition: one RocksDB, a cache of its changelog up to a known offset."""

import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import structlog
from rocksdict import (
    AccessType,
    BlockBasedOptions,
    Cache,
    MemtableFactory,
    Options,
    Rdict,
    WriteBatch,
    WriteBufferManager,
    WriteOptions,
)

from app.errors import Doubt
from app.stream.rocksdb_logs import find_damage

_OFFSET_KEY = b"__faust\0offset__"
"""Where Faust's own store keeps it too. No row has this key: ids cannot contain U+0000."""
_DAMAGED = "damaged"
"""A file of this name in its folder says that a local table must not be used again."""

MEMORY_BYTES = 128 * 1024 * 1024
"""Of all databases of the process together: blocks, indexes and filters, and what is not yet written to files."""
_UNWRITTEN_BYTES = 64 * 1024 * 1024
_WRITE_BUFFER_BYTES = 8 * 1024 * 1024
_FULL_BUFFERS = 1
"""How many of a table may wait for being written to files while the next one is filled by loading."""
_UNSORTED_FILES = 18
"""How many files of a table may wait for being merged with the others; from 20 on RocksDB slows down who writes."""
_NEVER = 1_000_000
_FILES_SECONDS = 10.0
_PAUSE_SECONDS = 0.002
_TOLD_BYTES = 1024 * 1024
"""Of RocksDB's own log, and of its list of files, before a new one is begun: else they grow without end."""
_BLOOM_BITS = 10
_OPEN_FILES = 64
_DAY_SECONDS = 24 * 60 * 60
EXPIRY_SECONDS: Mapping[str, int] = {"signal_ids": 7 * _DAY_SECONDS}
"""How long rows of a table are kept at least, as in its changelog. The rules ask for 48 hours and never look at
whether an older row is still there."""

_log = structlog.get_logger("sizer")


@cache
def _shared_memory() -> tuple[Cache, WriteBufferManager]:
    """One block cache for all databases of the process, which write buffers are charged to.

    The default is a cache for each, of 2 GiB in Faust's store, and buffers beside it: many partitions would fill any
    memory.
    """
    blocks = Cache(MEMORY_BYTES)
    return blocks, WriteBufferManager.new_write_buffer_manager_with_cache(_UNWRITTEN_BYTES, False, blocks)  # noqa: FBT003 - RocksDB's own signature


def memory() -> tuple[int, int]:
    """Return how many bytes the cache of all databases takes, and how many of them are rows not in files yet."""
    blocks, buffers = _shared_memory()
    return int(blocks.get_usage()), int(buffers.get_usage())


def _options(*, is_loading: bool) -> Options:
    blocks, buffers = _shared_memory()
    table = BlockBasedOptions()
    table.set_block_cache(blocks)
    table.set_cache_index_and_filter_blocks(True)
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)
    table.set_bloom_filter(_BLOOM_BITS, block_based=False)  # most ids that are asked for are new
    options = Options(raw_mode=True)
    options.create_if_missing(True)  # noqa: FBT003 - RocksDB's own signature
    options.set_block_based_table_factory(table)
    options.set_write_buffer_manager(buffers)
    options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
    options.set_max_open_files(_OPEN_FILES)
    options.set_keep_log_file_num(2)
    options.set_max_log_file_size(_TOLD_BYTES)
    options.set_max_manifest_file_size(_TOLD_BYTES)
    options.set_max_background_jobs(2)
    if is_loading:
        # Rows are appended, and sorted in the background when they are written to a file; reading would sort each time.
        options.set_memtable_factory(MemtableFactory.vector())
        options.set_allow_concurrent_memtable_write(False)
        # RocksDB never slows writing down or stops it, for then the whole process stands still: see `_await_files`.
        options.set_max_write_buffer_number(_FULL_BUFFERS + 3)
        options.set_level_zero_slowdown_writes_trigger(_NEVER)
        options.set_level_zero_stop_writes_trigger(_NEVER)
    return options


class LocalTable:
    """Rows of one table and partition as of a changelog offset.

    Rows and offset are written by one atomic batch: whatever the process dies of, the two agree, and restoring from
    the offset completes the rows. Nothing is synced: what a power cut takes away is read from the changelog again.
    Damage that RocksDB's checksums find raises Doubt, and the next start restores the table from its changelog.
    """

    def __init__(self, table: str, path: Path) -> None:
        """Open or create it; one that is damaged is thrown away, the changelog has everything. Raises Doubt."""
        self.table = table
        self.path = path
        self._is_loading = False
        self._db = self._open()
        self._offset, self._written_at = self._read_offset()

    @property
    def next_offset(self) -> int:
        """The changelog offset from which it has to be read on."""
        return self._offset + 1

    @property
    def written_at(self) -> float:
        """When it was last known to be up to its offset, in seconds since the epoch."""
        return self._written_at

    def get(self, key: bytes) -> bytes | None:
        """Return a row's value, None if there is no such row."""
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:  # noqa: BLE001 - rocksdict raises nothing narrower
            raise self._doubt("read", error) from None
        return value

    def scan(self, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the rows from key `start` on, in ascending order of the keys' bytes."""
        # Not rocksdict's `items`: at a damaged block it ends as if there were no more rows.
        rows = self._db.iter()
        rows.seek(start)
        while rows.valid():
            key = rows.key()
            if key != _OFFSET_KEY:
                yield key, rows.value()
            rows.next()
        try:
            rows.status()
        except Exception as error:  # noqa: BLE001 - rocksdict raises nothing narrower
            raise self._doubt("read", error) from None

    def write(self, changes: Iterable[tuple[bytes, bytes | None]], offset: int) -> None:
        """Write or delete rows, whose last change is at changelog offset `offset`."""
        if self._is_loading:
            self._await_files(_FULL_BUFFERS)
        batch = WriteBatch(raw_mode=True)
        put = batch.put
        for key, value in changes:
            if value is None:
                batch.delete(key)
            else:
                put(key, value)
        self._offset = max(self._offset, offset)
        self._written_at = int(time.time())
        batch.put(_OFFSET_KEY, b"%d %d" % (self._offset, self._written_at))
        try:
            self._db.write(batch)
        except Exception as error:  # noqa: BLE001 - rocksdict raises nothing narrower
            raise self._doubt("written; is the disk full, or read-only?", error) from None

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Have it written many rows, and none read, as long as the block runs: for less than half the processor time.

        Nothing is logged ahead: a kill takes back what is not in RocksDB's files yet. These get whole batches, in
        their order, so that what is left is rows and offset of an earlier moment, to be restored from there. When the
        block ends all is in files, before anything is logged ahead again: else a kill after that could take back rows
        from under newer ones. Raises Doubt.
        """
        self.close()
        self._db = self._open(is_loading=True)
        self._offset, self._written_at = self._read_offset()  # it is empty now if it was damaged
        self._is_loading = True
        try:
            yield
            self._await_files(0)
            with suppress(Exception):  # closing tells it
                self._db.flush(wait=False)
            self._await_files(0)
        finally:
            self._is_loading = False
            self.close()  # writes to files what is not in any yet
            self._db = self._open()
        written = self._read_offset()[0]
        if written != self._offset:
            raise Doubt(f"local table {self.path} was written up to offset {self._offset} but has {written}")

    def begin_at(self, offset: int) -> None:
        """Take the changelog before `offset` as read: it is gone from there, because its rows have expired."""
        self._offset = max(self._offset, offset - 1)

    def clear(self) -> None:
        """Throw everything away, to be restored from the changelog's beginning."""
        self.close()
        shutil.rmtree(self.path)
        self._offset, self._written_at = -1, 0
        self._db = self._open()

    def close(self) -> None:
        """Close the database. Raises Doubt if it could not be written before."""
        try:
            self._db.close()
        except Exception as error:  # noqa: BLE001 - rocksdict raises nothing narrower
            raise self._doubt("closed", error) from None

    def _await_files(self, buffers: int) -> None:
        """Wait until no more than so many full buffers are to be written to files, and few files are to be merged.

        RocksDB would wait as well, but nothing else in the process could run: rocksdict keeps the GIL. After a while
        it shall, for then something is wrong, and it tells what.
        """
        deadline = time.monotonic() + _FILES_SECONDS
        while time.monotonic() < deadline and (
            (self._db.property_int_value("rocksdb.num-immutable-mem-table") or 0) > buffers
            or int(self._db.property_value("rocksdb.num-files-at-level0") or 0) > _UNSORTED_FILES
        ):
            time.sleep(_PAUSE_SECONDS)

    def _read_offset(self) -> tuple[int, int]:
        raw = self.get(_OFFSET_KEY)
        if raw is None:
            return -1, 0
        offset, written_at = raw.split()
        return int(offset), int(written_at)

    def _doubt(self, what: str, error: Exception) -> Doubt:
        if _is_damage(error):
            with suppress(OSError):  # then the next start finds the damage again
                (self.path / _DAMAGED).write_text(str(error))
        return Doubt(f"local table {self.path} could not be {what} ({error})")

    def _open(self, *, is_loading: bool = False) -> Rdict:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if (self.path / _DAMAGED).exists():
                return self._open_anew((self.path / _DAMAGED).read_text())
            if (damage := find_damage(self.path)) is not None:
                return self._open_anew(damage)
            return self._open_once(is_loading=is_loading)
        except Exception as error:  # noqa: BLE001 - rocksdict raises nothing narrower
            if not _is_damage(error):
                raise Doubt(
                    f"local table {self.path} could not be opened ({error}): look at the disk, its room and permissions"
                ) from None
            return self._open_anew(str(error))

    def _open_anew(self, reason: str) -> Rdict:
        _log.warning("local table is damaged", path=str(self.path), error=reason)
        shutil.rmtree(self.path)
        self.path.mkdir()
        return self._open_once()

    def _open_once(self, *, is_loading: bool = False) -> Rdict:
        db = self._open_database(_options(is_loading=is_loading))
        if is_loading:
            unlogged = WriteOptions()
            unlogged.disable_wal = True  # type: ignore[method-assign,assignment]  # its stubs take it for a method
            db.set_write_options(unlogged)
        return db

    def _open_database(self, options: Options) -> Rdict:
        expiry = EXPIRY_SECONDS.get(self.table)
        # Without naming the column family rocksdict takes what a database that exists was last written with instead:
        # no filters, which are not written down, and a cache of its own for each.
        families = {"default": options}
        if expiry is None:
            return Rdict(str(self.path), options, families)
        # With a time to live RocksDB drops old rows when it compacts, the offset too if it stays the same for so
        # long: then the table is restored from the beginning, which is what it needs after such a time anyway.
        db = Rdict(str(self.path), options, families, AccessType.with_ttl(expiry))
        db.set_options({"periodic_compaction_seconds": str(_DAY_SECONDS)})  # by itself once in 30 days
        return db


def _is_damage(error: Exception) -> bool:
    return "orruption" in str(error)


class LocalTables:
    """All local tables that are open, by table and partition.

    They lie in folders named by the changelog's topic id: what was written for a topic that has been deleted since
    can never be taken for the state of its successor. Such folders are removed.
    """

    def __init__(self, folder: Path, changelog_ids: Mapping[str, str]) -> None:
        self._folders = {table: folder / table / topic_id for table, topic_id in changelog_ids.items()}
        self._open: dict[tuple[str, int], LocalTable] = {}
        for current in self._folders.values():
            for other in current.parent.iterdir() if current.parent.is_dir() else ():
                if other.name != current.name:
                    shutil.rmtree(other, ignore_errors=True)

    def open(self, table: str, partition: int) -> LocalTable:
        """Return a local table, opened if it is not yet."""
        key = (table, partition)
        if key not in self._open:
            self._open[key] = LocalTable(table, self._folders[table] / str(partition))
        return self._open[key]

    def partition(self, partition: int) -> dict[str, LocalTable]:
        """Return all tables of a partition by name, opened if they are not yet."""
        return {table: self.open(table, partition) for table in self._folders}

    def close_all_but(self, partitions: Iterable[int] = ()) -> None:
        """Close the tables of all other partitions."""
        kept = set(partitions)
        for key in [key for key in self._open if key[1] not in kept]:
            self._open.pop(key).close()


class PartitionStore:
    """The committed rows of one partition, as the processor reads them (`app.processor.Store`)."""

    def __init__(self, tables: Mapping[str, LocalTable]) -> None:
        self.tables = tables

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a row's value, None if there is no such row."""
        return self.tables[table].get(key)

    def scan(self, table: str, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the rows from key `start` on, in ascending order of the keys' bytes."""
        return self.tables[table].scan(start)
