"""The state of one partition: typed rows over a store.

Rows are asked for and kept by their keys (`rows`): an event makes each of them once.
"""

from collections.abc import Mapping

from app.core.decision import Decided
from app.core.execution import Applied
from app.core.policy import Policy
from app.core.state import Order
from app.errors import UserError
from app.processor import rows
from app.processor.pruning import Pruner
from app.processor.rows import DecidedSignal, PartitionRow, PortfolioRow
from app.processor.store import Change, Store
from app.processor.table import Table
from app.processor.working import WorkingOrders, may_lapse
from app.topics import FILLS

PORTFOLIO_CAPACITY = 20_000
ORDER_CAPACITY = 40_000
"""Hot rows that are held decoded, 1 to 1.5 kB each, in all partitions together: a worker may own all of them."""
SIGNAL_ID_CAPACITY = 0
"""Decided signal ids are asked for once, as a rule: only what is not yet committed is held in memory."""


class PartitionState:
    """What the rules remember of one partition."""

    def __init__(self, store: Store, partition_count: int) -> None:
        """Read where the partition stands; raises UserError if it was another count of partitions."""
        portfolios, orders = (max(1, total // partition_count) for total in (PORTFOLIO_CAPACITY, ORDER_CAPACITY))
        self._store = store
        self._portfolios = Table("portfolios", store, rows.encode_portfolio, rows.decode_portfolio, portfolios)
        self._orders = Table("orders", store, rows.encode_order, rows.decode_order, orders)
        self._exec_ids = Table("orders", store, bytes, bytes, 0)
        self._signal_ids = Table(
            "signal_ids", store, rows.encode_decided_signal, rows.decode_decided_signal, SIGNAL_ID_CAPACITY
        )
        self._working = WorkingOrders(store, portfolios)
        self._pruner = Pruner(store, self._portfolio_time)
        self._latest_time = 0
        self._policies: dict[str, Policy] = {}
        self._policy_changes: list[Change] = []
        self._partition_count = partition_count
        raw = store.get("portfolios", rows.PARTITION_KEY)
        self.is_new = raw is None
        row = PartitionRow(partition_count, {}, -1) if raw is None else rows.decode_partition(raw)
        if row.partition_count != partition_count:
            raise UserError(
                f"the topics have {partition_count} partitions but the state was written with {row.partition_count}: "
                "a portfolio would change its partition and lose its state; go back to the former number of partitions"
            )
        self._positions = dict(row.positions)
        self.input_ids = dict(row.input_ids)
        self.changelog_ends = dict(row.changelog_ends)
        self.last_fills_offset = row.last_fills_offset
        self._moved = False

    @property
    def positions(self) -> Mapping[str, int]:
        """The next offset of each input topic."""
        return self._positions

    def take(self, topic: str, offset: int) -> None:
        """Move a topic's position behind a record that is being taken."""
        self.advance(topic, offset + 1)
        if topic == FILLS:
            self.last_fills_offset = max(self.last_fills_offset, offset)

    def advance(self, topic: str, position: int) -> None:
        """Move a topic's position forward; it never moves back, or answered records would be read again."""
        self._positions[topic] = max(self._positions.get(topic, 0), position)
        self._moved = True

    def portfolio(self, key: bytes) -> PortfolioRow | None:
        """Return a portfolio, None before its first decision."""
        return self._portfolios.get(key)

    def order(self, key: bytes) -> Order | None:
        """Return an order, None if it never was or its row was pruned."""
        return self._orders.get(key)

    def lapsing(self, held: PortfolioRow | None, now: int) -> list[Order]:
        """Return a portfolio's working orders whose reservation lapses now. `held`: its row, None if it is new."""
        if held is None or not may_lapse(held.first_expiry, now):
            return []
        portfolio_id = held.portfolio.portfolio_id
        orders = []
        for order_id in self._working.lapsing(portfolio_id, now):
            order = self._orders.get(rows.order_key(portfolio_id, order_id))
            assert order is not None, "a working order always has its row"
            orders.append(order)
        return orders

    def has_exec_id(self, key: bytes) -> bool:
        """Tell whether a fill with this exec id was applied to the order."""
        return self._exec_ids.get(key) is not None

    def decided_signal(self, key: bytes) -> DecidedSignal | None:
        """Return when the signal's id was decided, None if never or long ago."""
        return self._signal_ids.get(key)

    def policy(self, policy_id: str) -> Policy:
        """Return a policy that a portfolio was decided by."""
        policy = self._policies.get(policy_id)
        if policy is None:
            raw = self._store.get("portfolios", rows.POLICY_PREFIX + policy_id.encode())
            assert raw is not None, "a policy is kept with the first decision by it"
            policy = self._policies[policy_id] = Policy(rows.decode_policy(raw))
        return policy

    def keep_decision(self, key: bytes, held: PortfolioRow | None, decided: Decided) -> None:
        """Write what a decision changed of a portfolio and its orders. `held`: the row of the portfolio before it."""
        portfolio, orders, _, _ = decided
        portfolio_id = portfolio.portfolio_id
        if held is None:
            self._working.begin(portfolio_id)
        for order in orders:
            # Of a decision's orders those that lapsed worked before it, and the new one was not there.
            self._keep_order(rows.order_key(portfolio_id, order.order_id), order, was_working=not order.working)
        first_expiry = None if held is None else held.first_expiry
        if may_lapse(first_expiry, portfolio.time):
            first_expiry = self._working.first_expiry(portfolio_id)
        elif orders:
            new = orders[-1].expires_at  # nothing has lapsed
            first_expiry = new if first_expiry is None else min(first_expiry, new)
        self._keep_portfolio(key, PortfolioRow(portfolio, first_expiry))

    def keep_fill(
        self, key: bytes, held: PortfolioRow, order_key: bytes, order: Order, exec_id_key: bytes, applied: Applied
    ) -> None:
        """Write what a fill changed, and that it was applied. `held`, `order`: the rows before it."""
        self._keep_portfolio(key, PortfolioRow(applied.portfolio, held.first_expiry))
        self._keep_order(order_key, applied.order, was_working=order.working)
        self._exec_ids.put(exec_id_key, rows.EXEC_ID_ROW)
        self._pruner.grown(1)

    def keep_decided_signal(self, key: bytes, decided: DecidedSignal) -> None:
        """Write that a signal's id was decided."""
        self._signal_ids.put(key, decided)

    def keep_policy(self, policy: Policy) -> None:
        """Write a policy when it is first decided by."""
        if policy.policy_id in self._policies:
            return
        self._policies[policy.policy_id] = policy
        key = rows.POLICY_PREFIX + policy.policy_id.encode()
        self._policy_changes.append(Change("portfolios", key, rows.encode_policy(policy.canonical)))

    def changes(self) -> list[Change]:
        """Return every row that changed since the last commit."""
        if not self._moved:
            return []
        position = PartitionRow(
            self._partition_count, self._positions, self.last_fills_offset, self.input_ids, self.changelog_ends
        )
        return [
            *self._portfolios.changes(),
            *self._working.changes(),
            *self._policy_changes,
            *self._orders.changes(),
            *self._exec_ids.changes(),
            *self._signal_ids.changes(),
            *self._pruner.changes(self._orders.is_changed, self._latest_time),
            Change("portfolios", rows.PARTITION_KEY, rows.encode_partition(position)),
        ]

    def committed(self) -> None:
        """Take the changes as stored."""
        for part in (self._portfolios, self._working, self._orders, self._exec_ids, self._signal_ids, self._pruner):
            part.committed()
        self._policy_changes.clear()
        self._moved = False
        self.is_new = False

    def _keep_portfolio(self, key: bytes, row: PortfolioRow) -> None:
        self._portfolios.put(key, row)
        self._latest_time = max(self._latest_time, row.portfolio.time)

    def _keep_order(self, key: bytes, order: Order, *, was_working: bool) -> None:
        self._orders.put(key, order)
        self._working.follow(order, was_working=was_working)
        self._pruner.grown(1)

    def _portfolio_time(self, key: bytes) -> int | None:
        """Return it for pruning, which goes through all portfolios: hot ones must not make room for those."""
        row = self._portfolios.held(key)
        if row is not None:
            return row.portfolio.time
        raw = self._store.get("portfolios", key)
        return None if raw is None else rows.time_of(raw)
