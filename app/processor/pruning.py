"""Forgotten orders leave the store: a cursor goes round the table, two rows on for each row that was added.

The rules never look at whether a row is still there (an expired row counts as absent), so pruning changes no answer;
it keeps the table within about twice what is remembered, at a cost that does not depend on its size.
"""

from collections.abc import Callable, Iterator
from itertools import islice

from app.core.order import is_past_memory
from app.processor import rows
from app.processor.store import Change, Store

_TABLE = "orders"
_STEPS_PER_ADDED_ROW = 2


class Pruner:
    """Walks over the orders of a partition and deletes the forgotten ones and their exec ids."""

    def __init__(self, store: Store, portfolio_time: Callable[[bytes], int | None]) -> None:
        """`portfolio_time`: of the portfolio with this key, None if there is none."""
        self._store = store
        self._portfolio_time = portfolio_time
        self._cursor = b""
        self._added = 0
        self._pruned: list[Change] = []

    def grown(self, count: int) -> None:
        """Take note of rows put into the table."""
        self._added += count

    def changes(self, is_changed: Callable[[bytes], bool], latest_time: int) -> list[Change]:
        """Return the deletions that are due.

        `is_changed`: the row waits to be written, so the store's is not it. `latest_time`: of any portfolio, as far as
        is known; what is remembered even then is not asked for by its portfolio.
        """
        steps, self._added = self._added * _STEPS_PER_ADDED_ROW, 0
        if steps:
            self._pruned += self._walk(steps, is_changed, latest_time)
        return self._pruned

    def committed(self) -> None:
        """Take the deletions as stored."""
        self._pruned = []

    def _walk(self, steps: int, is_changed: Callable[[bytes], bool], latest_time: int) -> Iterator[Change]:
        visited = 0
        order, dead = b"", False
        portfolio, time = b"", None  # orders of one portfolio follow each other
        for key, raw in islice(self._store.scan(_TABLE, self._cursor), steps):
            visited += 1
            self._cursor = key + b"\x00"
            if key.count(rows.SEPARATOR) == 1:
                order, dead = key, False
                finished_at = None if is_changed(key) else rows.finished_at_of(raw)
                if finished_at is not None and is_past_memory(finished_at, latest_time):
                    if not (portfolio and key.startswith(portfolio)):
                        portfolio = key[: key.index(rows.SEPARATOR) + 1]
                        time = self._portfolio_time(portfolio[:-1])
                    dead = time is not None and is_past_memory(finished_at, time)
            elif not (order and key.startswith(order + rows.SEPARATOR)):
                # The walk began between an order and its exec ids: without the order they are left over.
                order = key.rpartition(rows.SEPARATOR)[0]
                dead = self._store.get(_TABLE, order) is None
            if dead:
                yield Change(_TABLE, key, None)
        if visited < steps:
            self._cursor = b""
