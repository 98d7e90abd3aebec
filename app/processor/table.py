"""A table of decoded rows over a store: what changed since the last commit, and a bounded cache of hot rows."""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from app.errors import Doubt
from app.processor import rows
from app.processor.store import Change, Store

T = TypeVar("T")


class Table(Generic[T]):
    """Rows of one type. Reads see what was put before, committed or not.

    Clean rows beyond `capacity` are dropped at a commit, least recently used first; changed ones never are.
    """

    def __init__(
        self, name: str, store: Store, encode: Callable[[T], bytes], decode: Callable[[bytes], T], capacity: int
    ) -> None:
        self._name = name
        self._store = store
        self._encode = encode
        self._decode = decode
        self._capacity = capacity
        self._rows: dict[bytes, T | None] = {}
        self._changed: dict[bytes, None] = {}

    def get(self, key: bytes) -> T | None:
        """Return a row, None if there is none. Absence is not cached: ids that are new are asked for once."""
        row = self._rows.pop(key, None)
        if row is None:
            if key in self._changed:
                self._rows[key] = None
                return None
            raw = self._store.get(self._name, key)
            if raw is None:
                return None
            row = self._read(key, raw)
        self._rows[key] = row
        return row

    def held(self, key: bytes) -> T | None:
        """Return a row if it is held in memory, and leave what is held as it is."""
        return self._rows.get(key)

    def _read(self, key: bytes, raw: bytes) -> T:
        try:
            return self._decode(raw)
        except rows.UNREADABLE as error:
            raise Doubt(
                f"the row {key!r} of {self._name} is none that this program wrote ({error!r}): somebody else writes to"
                " its changelog; keep others away from the topic and bring the row back"
            ) from None

    def put(self, key: bytes, row: T) -> None:
        """Write a row."""
        self._rows[key] = row
        self._changed[key] = None

    def delete(self, key: bytes) -> None:
        """Delete a row."""
        self._rows[key] = None
        self._changed[key] = None

    def is_changed(self, key: bytes) -> bool:
        """Tell whether a row was put or deleted since the last commit."""
        return key in self._changed

    def changes(self) -> Iterator[Change]:
        """Iterate over the rows changed since the last commit, each with its last content."""
        for key in self._changed:
            row = self._rows[key]
            yield Change(self._name, key, None if row is None else self._encode(row))

    def committed(self) -> None:
        """Take what changed as stored."""
        for key in self._changed:
            if self._rows[key] is None:
                del self._rows[key]
        self._changed.clear()
        excess = len(self._rows) - self._capacity
        if excess > 0:
            for key in list(self._rows)[:excess]:
                del self._rows[key]
