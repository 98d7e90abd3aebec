"""Where the committed rows of one partition are: bytes by table and key, in key order."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from sortedcontainers import SortedDict

TABLES = ("portfolios", "orders", "signal_ids")


class Change(NamedTuple):
    """A row to write, or to delete where `value` is None."""

    table: str
    key: bytes
    value: bytes | None


class Store(Protocol):
    """The committed rows of one partition."""

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a row's value, None if there is no such row."""

    def scan(self, table: str, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the rows from key `start` (inclusive) on, in ascending order of the keys' bytes."""


class MemoryStore:
    """A store for simulation, replay and tests."""

    def __init__(self) -> None:
        self._tables: dict[str, SortedDict[bytes, bytes]] = {table: SortedDict() for table in TABLES}

    def get(self, table: str, key: bytes) -> bytes | None:
        """Return a row's value, None if there is no such row."""
        value: bytes | None = self._tables[table].get(key)
        return value

    def scan(self, table: str, start: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over the rows from key `start` on. The store must not be written meanwhile."""
        rows = self._tables[table]
        return ((key, rows[key]) for key in rows.irange(start))

    def rows(self) -> Iterator[Change]:
        """Iterate over all rows, table by table. The store must not be written meanwhile."""
        return (Change(table, key, value) for table, rows in self._tables.items() for key, value in rows.items())

    def write(self, changes: Iterable[Change]) -> None:
        """Write or delete rows."""
        for table, key, value in changes:
            if value is None:
                self._tables[table].pop(key, None)
            else:
                self._tables[table][key] = value
