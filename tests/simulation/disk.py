"""A worker's disk: folders, and RocksDB as far as the local tables use it.

A batch is written as one. A kill -9 keeps every write (it is in the page cache); a power cut takes back the last
batches of each database, never one from the middle. Rows with a time to live go when they are compacted, the offset
too. A damaged database cannot be opened.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Self

from sortedcontainers import SortedDict

from tests.simulation.scheduler import SECOND, Scheduler

_UNDO_LIMIT = 20


class _Database:
    """What lies in one folder."""

    def __init__(self) -> None:
        self.rows: SortedDict[bytes, bytes] = SortedDict()
        self.times: dict[bytes, float] = {}
        self.undo: list[dict[bytes, bytes | None]] = []
        self.is_damaged = False
        self.expiry: int | None = None

    def write(self, changes: list[tuple[bytes, bytes | None]], now: float) -> None:
        self.undo.append({key: self.rows.get(key) for key, _ in reversed(changes)})
        del self.undo[:-_UNDO_LIMIT]
        for key, value in changes:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = value
                self.times[key] = now

    def take_back(self, count: int) -> None:
        for _ in range(min(count, len(self.undo))):
            for key, value in self.undo.pop().items():
                if value is None:
                    self.rows.pop(key, None)
                else:
                    self.rows[key] = value

    def compact(self, now: float) -> int:
        if self.expiry is None:
            return 0
        old = [key for key in self.rows if self.times[key] < now - self.expiry]
        for key in old:
            del self.rows[key]
        if old:
            self.undo.clear()
        return len(old)


class Disk:
    """All folders of one worker; outlives its processes."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.scheduler = scheduler
        self.name = name
        self.databases: dict[str, _Database] = {}
        self.folders: set[str] = set()
        self.files: dict[str, str] = {}

    @property
    def root(self) -> "Path":
        """The data folder."""
        return Path("/data", self.name, disk=self)

    def lose_power(self) -> None:
        """Take back the last writes of each database, each to an instant of its own."""
        for database in self.databases.values():
            database.take_back(self.scheduler.random.randrange(6))

    def wipe(self) -> None:
        """Lose everything."""
        for kept in (self.databases, self.folders, self.files):
            kept.clear()

    def damage(self) -> None:
        """Make one database unreadable."""
        if self.databases:
            self.databases[self.scheduler.random.choice(sorted(self.databases))].is_damaged = True

    def compact(self) -> int:
        """Let RocksDB compact; return how many rows went."""
        now = self.scheduler.now / SECOND
        return sum(database.compact(now) for database in self.databases.values())


class Path(PurePosixPath):
    """A folder on such a disk."""

    __slots__ = ("disk",)
    disk: Disk

    def __new__(cls, *parts: str, disk: Disk) -> Self:
        self = super().__new__(cls, *parts)
        self.disk = disk
        return self

    def __truediv__(self, name: Any) -> "Path":
        return Path(str(self), str(name), disk=self.disk)

    @property
    def parent(self) -> "Path":
        return Path(str(PurePosixPath(str(self)).parent), disk=self.disk)

    def __str__(self) -> str:
        return "/".join(self.parts).replace("//", "/")

    def is_dir(self) -> bool:
        return str(self) in self.disk.folders

    def exists(self) -> bool:
        return self.is_dir() or str(self) in self.disk.files

    def read_text(self) -> str:
        return self.disk.files[str(self)]

    def write_text(self, text: str) -> None:
        self.disk.scheduler.effect(f"write {self}")
        self.disk.files[str(self)] = text

    def iterdir(self) -> Iterator["Path"]:
        prefix = f"{self}/"
        names = {name.removeprefix(prefix).partition("/")[0] for name in self.disk.folders if name.startswith(prefix)}
        return (self / name for name in sorted(names))

    def mkdir(self, **_: bool) -> None:
        path = PurePosixPath(str(self))
        self.disk.folders.update(str(folder) for folder in (path, *path.parents))


class Shutil:
    """`shutil`, for such folders."""

    @staticmethod
    def rmtree(path: Path, **_: bool) -> None:
        disk, name = path.disk, str(path)
        disk.scheduler.effect(f"remove {name}")
        below = f"{name}/"
        disk.folders = {other for other in disk.folders if other != name and not other.startswith(below)}
        for kept in (disk.files, disk.databases):
            for other in [other for other in kept if other == name or other.startswith(below)]:
                del kept[other]


class AccessType:
    """`rocksdict.AccessType`."""

    @staticmethod
    def with_ttl(seconds: int) -> int:
        return seconds


class WriteBatch:
    """`rocksdict.WriteBatch`."""

    def __init__(self, **_: bool) -> None:
        self.changes: list[tuple[bytes, bytes | None]] = []

    def put(self, key: bytes, value: bytes) -> None:
        self.changes.append((key, value))

    def delete(self, key: bytes) -> None:
        self.changes.append((key, None))


class RdictIter:
    """`rocksdict.RdictIter`: over the rows as they are when it seeks."""

    def __init__(self, rows: "SortedDict[bytes, bytes]") -> None:
        self._rows = rows
        self._keys: Iterator[bytes] = iter(())
        self._key: bytes | None = None

    def seek(self, key: bytes) -> None:
        self._keys = self._rows.irange(key)
        self.next()

    def valid(self) -> bool:
        return self._key is not None

    def key(self) -> bytes:
        assert self._key is not None
        return self._key

    def value(self) -> bytes:
        assert self._key is not None
        value: bytes = self._rows[self._key]
        return value

    def next(self) -> None:
        self._key = next(self._keys, None)

    def status(self) -> None:
        """Nothing is damaged while it is open."""


class Rdict:
    """`rocksdict.Rdict`."""

    disks: dict[str, Disk]
    """By name, of the schedule that is running: a database is opened by its folder's name."""

    def __init__(self, path: str, options: Any, families: dict[str, Any], access_type: int | None = None) -> None:
        self._disk = self.disks[path.split("/")[2]]
        self._path = path
        database = self._disk.databases.setdefault(path, _Database())
        if database.is_damaged:
            raise Exception("Corruption: it was damaged")  # noqa: TRY002 - rocksdict raises nothing narrower
        database.expiry = access_type
        self._database = database

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._database.rows.get(key)
        return value

    def iter(self) -> "RdictIter":
        return RdictIter(self._database.rows)

    def write(self, batch: WriteBatch) -> None:
        scheduler = self._disk.scheduler
        scheduler.effect(f"write {len(batch.changes) - 1} to {self._path}")
        self._database.write(batch.changes, scheduler.now / SECOND)
        scheduler.effect("written")

    def set_options(self, options: dict[str, str]) -> None:
        pass

    def close(self) -> None:
        pass
