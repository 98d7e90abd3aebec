"""The working orders of each portfolio, by when they may lapse: a decision looks only at those that are due."""

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


class WorkingOrders:
    """An index over the working orders, loaded from the store when a portfolio is first asked for.

    Whole portfolios beyond `capacity` are dropped at a commit, least recently used first.
    """

    def __init__(self, store: Store, capacity: int) -> None:
        self._store = store
        self._capacity = capacity
        self._portfolios: dict[str, _Index] = {}
        self._changes: dict[bytes, bytes | None] = {}

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

    def follow(self, order: Order) -> None:
        """Take note whether an order works."""
        order_ids, heap = self._of(order.portfolio_id)
        at = (order.expires_at, order.sequence)
        if order.working == (at in order_ids):
            return
        key = rows.working_key(order.portfolio_id, *at)
        if order.working:
            order_ids[at] = order.order_id
            heappush(heap, at)
            self._changes[key] = order.order_id.encode()
            return
        del order_ids[at]
        self._changes[key] = None
        # To take an entry out of the middle of a heap is slow: it goes when its time has come, or with many others.
        if len(heap) > 2 * len(order_ids) + _ENDED_ENTRIES_KEPT:
            heap[:] = sorted(order_ids)

    def changes(self) -> Iterator[Change]:
        """Iterate over the rows changed since the last commit."""
        for key, value in self._changes.items():
            yield Change(_TABLE, key, value)

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
            prefix = rows.working_prefix(portfolio_id)
            index = _Index({}, [])
            for key, value in self._store.scan(_TABLE, prefix):
                if not key.startswith(prefix):
                    break
                at = rows.working_from_key(key)
                index.order_ids[at] = value.decode()
                index.heap.append(at)  # rows come in the order of their keys, and a sorted list is a heap
        self._portfolios[portfolio_id] = index
        return index
