"""The working orders of each portfolio, by when they may lapse: a decision looks only at those that are due."""

from collections.abc import Iterator

from sortedcontainers import SortedDict

from app.core.order import is_lapsing
from app.core.state import Order
from app.processor import rows
from app.processor.store import Change, Store

_TABLE = "portfolios"


class WorkingOrders:
    """An index over the working orders, loaded from the store when a portfolio is first asked for.

    Whole portfolios beyond `capacity` are dropped at a commit, least recently used first.
    """

    def __init__(self, store: Store, capacity: int) -> None:
        self._store = store
        self._capacity = capacity
        self._portfolios: dict[str, SortedDict[tuple[int, int], str]] = {}
        self._changes: dict[bytes, bytes | None] = {}

    def lapsing(self, portfolio_id: str, now: int) -> list[str]:
        """Return the ids of the orders whose reservation lapses now, by (expires_at, sequence)."""
        due = []
        for (expires_at, _), order_id in self._of(portfolio_id).items():
            if not is_lapsing(expires_at, now):
                break
            due.append(order_id)
        return due

    def follow(self, order: Order) -> None:
        """Take note whether an order works."""
        index = self._of(order.portfolio_id)
        at = (order.expires_at, order.sequence)
        if order.working != (at in index):
            key = rows.working_key(order.portfolio_id, *at)
            if order.working:
                index[at] = order.order_id
                self._changes[key] = order.order_id.encode()
            else:
                del index[at]
                self._changes[key] = None

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

    def _of(self, portfolio_id: str) -> "SortedDict[tuple[int, int], str]":
        index = self._portfolios.pop(portfolio_id, None)
        if index is None:
            prefix = rows.working_prefix(portfolio_id)
            index = SortedDict()
            for key, value in self._store.scan(_TABLE, prefix):
                if not key.startswith(prefix):
                    break
                index[rows.working_from_key(key)] = value.decode()
        self._portfolios[portfolio_id] = index
        return index
