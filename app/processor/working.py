"""The working orders of each portfolio, by when they may lapse: a decision looks only at those that are due.

And it looks only when some may be due, which the portfolio's row tells (`rows.PortfolioRow`). So a portfolio's orders
are read from the store once in the time that one works, not whenever its row was not held in memory.
"""

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

from app.core.order import is_lapsing
from app.core.state import Order
from app.processor import rows
from app.processor.store import Change, Store

_TABLE = "portfolios"
_ENDED_ENTRIES_KEPT = 64


class _Index(NamedTuple):
    """The working orders of one portfolio."""

    order_ids: dict[tuple[int, int], str]
    """By (expires_at, sequence)."""
    heap: list[tuple[int, int]]
    """The keys of `order_ids`, the earliest first, as `heapq` has it; and some that are there no more."""


def may_lapse(first_expiry: int | None, now: int) -> bool:
    """Tell whether a portfolio's working orders have to be looked at. `first_expiry`: see `rows.PortfolioRow`."""
    return first_expiry is not None and is_lapsing(first_expiry, now)


class WorkingOrders:
    """An index over the working orders, loaded from the store when a portfolio's orders are first asked for.

    Whole portfolios beyond `capacity` are dropped at a commit, least recently used first.
    """

    def __init__(self, store: Store, capacity: int) -> None:
        self._store = store
        self._capacity = capacity
        self._portfolios: dict[str, _Index] = {}
        self._changes: dict[str, dict[tuple[int, int], str | None]] = {}
        """By portfolio and (expires_at, sequence): what was written since the last commit, None where deleted."""

    def begin(self, portfolio_id: str) -> None:
        """Take note of a new portfolio, for which there is nothing to look up in the store."""
        self._portfolios[portfolio_id] = _Index({}, [])

    def lapsing(self, portfolio_id: str, now: int) -> list[str]:
        """Return the ids of the orders whose reservation lapses now, by (expires_at, sequence)."""
        order_ids, heap = self._of(portfolio_id)
        due = []
        while heap and is_lapsing(heap[0][0], now):
            at = heappop(heap)
            if at in order_ids:
                due.append(at)
        for at in due:
            heappush(heap, at)  # they work until `follow` is told otherwise
        return [order_ids[at] for at in due]

    def first_expiry(self, portfolio_id: str) -> int | None:
        """Return when the first of the working orders expires, None if none works."""
        order_ids, heap = self._of(portfolio_id)
        while heap and heap[0] not in order_ids:
            heappop(heap)
        return heap[0][0] if heap else None

    def follow(self, order: Order, *, was_working: bool) -> None:
        """Take note whether an order works; nothing is looked up in the store."""
        if order.working == was_working:
            return
        portfolio_id = order.portfolio_id
        at = (order.expires_at, order.sequence)
        changes = self._changes.get(portfolio_id)
        if changes is None:
            changes = self._changes[portfolio_id] = {}
        changes[at] = order.order_id if order.working else None
        index = self._portfolios.pop(portfolio_id, None)
        if index is None:
            return
        self._portfolios[portfolio_id] = index
        order_ids, heap = index
        if order.working:
            order_ids[at] = order.order_id
            heappush(heap, at)
            return
        del order_ids[at]
        # To take an entry out of the middle of a heap is slow: it goes when its time has come, or with many others.
        if len(heap) > 2 * len(order_ids) + _ENDED_ENTRIES_KEPT:
            heap[:] = sorted(order_ids)

    def changes(self) -> Iterator[Change]:
        """Iterate over the rows changed since the last commit."""
        for portfolio_id, changes in self._changes.items():
            for at, order_id in changes.items():
                key = rows.working_key(portfolio_id, *at)
                yield Change(_TABLE, key, None if order_id is None else order_id.encode())

    def committed(self) -> None:
        """Take what changed as stored."""
        self._changes.clear()
        excess = len(self._portfolios) - self._capacity
        if excess > 0:
            for portfolio_id in list(self._portfolios)[:excess]:
                del self._portfolios[portfolio_id]

    def _of(self, portfolio_id: str) -> _Index:
        index = self._portfolios.pop(portfolio_id, None)
        if index is None:
            index = self._load(portfolio_id)
        self._portfolios[portfolio_id] = index
        return index

    def _load(self, portfolio_id: str) -> _Index:
        prefix = rows.working_prefix(portfolio_id)
        order_ids = {}
        for key, value in self._store.scan(_TABLE, prefix):
            if not key.startswith(prefix):
                break
            order_ids[rows.working_from_key(key)] = value.decode()
        for at, order_id in self._changes.get(portfolio_id, {}).items():
            if order_id is None:
                order_ids.pop(at, None)
            else:
                order_ids[at] = order_id
        return _Index(order_ids, sorted(order_ids))  # a sorted list is a heap
