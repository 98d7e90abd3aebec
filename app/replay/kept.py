"""What the changelogs keep, compared with what the recomputation leaves, row by row (I4).

Rows that count as absent may be there or not: forgotten orders with their exec ids, which pruning deletes at some
time, and expired signal ids, which a changelog may delete by age.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from app.core.admission import is_remembered
from app.core.order import is_past_memory
from app.errors import Doubt
from app.processor import MemoryStore, rows
from app.processor.rows import PartitionRow
from app.replay.published import shown

Rows = Mapping[str, Mapping[bytes, bytes | None]]
"""By table and key; None: deleted."""
_UNREADABLE = (Doubt, *rows.UNREADABLE)


class Difference(NamedTuple):
    """A row that is not as recomputed; None: there is none."""

    table: str
    key: bytes
    kept: bytes | None
    made: bytes | None

    def __str__(self) -> str:
        key = shown(self.key.replace(rows.SEPARATOR, b" / "))
        return f"row {key} of {self.table} is {_row(self.kept)}, recomputed {_row(self.made)}"


def read_partition_row(kept: Rows) -> PartitionRow | None:
    """Return where the kept state stands; None if there is no state. Raises ValueError."""
    raw = kept["portfolios"].get(rows.PARTITION_KEY)
    if raw is None:
        return None
    try:
        row = rows.decode_partition(raw)
        positions = {topic: int(position) for topic, position in row.positions.items()}
        return PartitionRow(int(row.partition_count), positions, int(row.last_fills_offset))
    except _UNREADABLE as error:
        raise ValueError(f"the row of the partition's positions cannot be read: {shown(raw)} ({error})") from None


class Comparison:
    """Compares rows with those of a recomputation that stands at the same positions."""

    def __init__(self, store: MemoryStore, clock: int, was_published: Callable[[str], bool]) -> None:
        """`clock`: what is older may have been deleted by age; in microseconds since the epoch.

        `was_published`: tells of an order id.
        """
        self._store = store
        self._clock = clock
        self._was_published = was_published

    def differences(self, kept: Rows, *, is_complete: bool) -> Iterator[Difference]:
        """Compare all rows; `is_complete`: those that are not among them are not kept."""
        for table, given in kept.items():
            for key, value in given.items():
                yield from self.row(table, key, value)
            if is_complete:
                for key, _ in self._store.scan(table, b""):
                    if key not in given:
                        yield from self.row(table, key, None)

    def row(self, table: str, key: bytes, kept: bytes | None) -> Iterator[Difference]:
        """Compare a row with what the recomputation now has."""
        made = self._store.get(table, key)
        if kept != made and key != rows.PARTITION_KEY and not self._is_excused(table, key, kept, made):
            yield Difference(table, key, kept, made)

    def _is_excused(self, table: str, key: bytes, kept: bytes | None, made: bytes | None) -> bool:
        """Tell whether a row counts as absent, so that it does not matter if it is there, or says the same."""
        try:
            if kept is not None and made is not None:
                return table == "portfolios" and self._is_same_portfolio(key, kept, made)
            if table == "signal_ids":
                return made is not None and self._is_expired(key, made)
            return table == "orders" and self._is_forgotten(key, kept if made is None else made)
        except _UNREADABLE:
            return False

    def _is_same_portfolio(self, key: bytes, kept: bytes, made: bytes) -> bool:
        """Tell whether rows differ no more than those of two releases.

        Where a release began that notes when the first order may lapse, it noted what worked then, not what had worked
        before. Either is right if no order that works expires earlier.
        """
        if rows.SEPARATOR in key:
            return False
        portfolio, first_expiry = rows.decode_portfolio(kept)
        prefix = key + rows.SEPARATOR
        working, _ = next(self._store.scan("portfolios", prefix), (b"", b""))
        is_early = not working.startswith(prefix) or (
            first_expiry is not None and first_expiry <= rows.working_from_key(working)[0]
        )
        return is_early and portfolio == rows.decode_portfolio(made).portfolio

    def _is_expired(self, key: bytes, raw: bytes) -> bool:
        now = max(self._clock, self._portfolio_time(key) or 0)
        return not is_remembered(rows.decode_decided_signal(raw).decided_at, now)

    def _is_forgotten(self, key: bytes, raw: bytes | None) -> bool:
        if key.count(rows.SEPARATOR) > 1:
            # An applied fill goes with its order, or a little later.
            order = key.rpartition(rows.SEPARATOR)[0]
            raw = self._store.get("orders", order)
            if raw is None:
                order_id = order.rpartition(rows.SEPARATOR)[2].decode("utf-8", "replace")
                return self._portfolio_time(key) is not None and self._was_published(order_id)
        finished_at = None if raw is None else rows.finished_at_of(raw)
        time = self._portfolio_time(key)
        return finished_at is not None and time is not None and is_past_memory(finished_at, time)

    def _portfolio_time(self, key: bytes) -> int | None:
        raw = self._store.get("portfolios", key.partition(rows.SEPARATOR)[0])
        return None if raw is None else rows.time_of(raw)


def _row(raw: bytes | None) -> str:
    return "missing" if raw is None else shown(raw)
