"""The processor as replay uses it: in memory, and what each record changed can be looked at."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.codecs import Decoder
from app.core.admission import is_remembered
from app.core.decision import Decided
from app.core.exact import exact
from app.core.execution import Applied
from app.core.exposure import order_exposure
from app.core.messages import Fill, PhaseEvent, Refused, Signal, SizedOrder
from app.core.policy import TABLE_POLICY, Policy
from app.core.state import Order, Portfolio
from app.processor import Change, MemoryStore, Outcome, Processor, Record, Store, rows
from app.processor.partitioners import partitioner
from app.processor.rows import PortfolioRow
from app.processor.state import PartitionState
from app.topics import INPUTS


class OrderChange(NamedTuple):
    """An order that a record changed. `before`: None for a new one."""

    before: Order | None
    after: Order


class Effect(NamedTuple):
    """What a record changed of its portfolio; values of `app.core`, exact."""

    before: Portfolio | None
    """None: it was the portfolio's first decision."""
    after: Portfolio
    orders: tuple[OrderChange, ...]
    """Of a decision those that lapsed, by (expires_at, sequence), then the new one if it was sized; of a fill its."""
    events: tuple[PhaseEvent, ...]
    sized_order: SizedOrder | None
    """Of a decision."""


@exact
def exposes(order: Order) -> bool:
    """Tell whether an order has something open or reserved."""
    return bool(order_exposure(order))


class SignalCause(NamedTuple):
    """What a decision changed, as it came: `effect` puts it together when somebody asks."""

    held: PortfolioRow | None
    decided: Decided
    lapsing: Sequence[Order]

    def effect(self) -> Effect:
        """Return what changed."""
        after, orders, events, sized_order = self.decided
        before = {order.order_id: order for order in self.lapsing}
        changed = tuple(OrderChange(before.get(order.order_id), order) for order in orders)
        return Effect(None if self.held is None else self.held.portfolio, after, changed, events, sized_order)


class FillCause(NamedTuple):
    """What an applied fill changed."""

    held: PortfolioRow
    order: Order
    applied: Applied

    def effect(self) -> Effect:
        """Return what changed."""
        after, order, events = self.applied
        return Effect(self.held.portfolio, after, (OrderChange(self.order, order),), events, None)


Cause = SignalCause | FillCause | None


class _Traced(PartitionState):
    """Remembers what the last record changed."""

    def __init__(self, store: Store, partition_count: int) -> None:
        super().__init__(store, partition_count)
        self.cause: Cause = None
        self._lapsing: Sequence[Order] = ()

    def lapsing(self, held: PortfolioRow | None, now: int) -> list[Order]:
        self._lapsing = found = super().lapsing(held, now)
        return found

    def keep_decision(self, key: bytes, held: PortfolioRow | None, decided: Decided) -> None:
        self.cause = SignalCause(held, decided, self._lapsing)
        super().keep_decision(key, held, decided)

    def keep_fill(
        self, key: bytes, held: PortfolioRow, order_key: bytes, order: Order, exec_id_key: bytes, applied: Applied
    ) -> None:
        self.cause = FillCause(held, order, applied)
        super().keep_fill(key, held, order_key, order, exec_id_key, applied)


class Recomputer(Processor):
    """A processor over a store in memory."""

    state_type = _Traced
    _state: _Traced

    def __init__(
        self,
        partition: int,
        store: MemoryStore,
        partition_count: int,
        partitioner_name: str,
        topic_names: Mapping[str, str],
        decoder: Decoder,
    ) -> None:
        """Take up where the store's rows stand. `topic_names`: the inputs' real names by logical name."""
        super().__init__(
            partition,
            store,
            TABLE_POLICY,
            partition_count=partition_count,
            partition_of=partitioner(partitioner_name, partition_count),
            partitioner_name=partitioner_name,
            topic_names={topic: topic_names[topic] for topic in INPUTS},
            decoder=decoder,
        )
        self.store = store
        self.number = 0
        """How many records were recomputed."""

    def recompute(self, record: Record, message: Signal | Fill | Refused, clock: int | None) -> tuple[Outcome, Cause]:
        """Process a record that was read; return what it causes and what it changed."""
        self.number += 1
        self._state.cause = None
        if isinstance(message, Refused):
            return self.refuse(record, message), None
        return self.take(record, message, clock), self._state.cause

    def pass_over(self, topic: str, offset: int) -> None:
        """Move over a record that is not recomputed: positions and `fills_offset` go on as if it had been taken."""
        self._state.take(topic, offset)

    def commit(self) -> list[Change]:
        """Write what changed since the last time to the store; return it."""
        changes = self.changes()
        self.store.write(changes)
        self.committed()
        return changes

    @property
    def last_fills_offset(self) -> int:
        """The offset of the last fills record taken, -1 if none."""
        return self._state.last_fills_offset

    def portfolio(self, portfolio_id: str) -> Portfolio | None:
        """Return a portfolio as it stands."""
        row = self._state.portfolio(rows.portfolio_key(portfolio_id))
        return None if row is None else row.portfolio

    def known_policy(self, policy_id: str) -> Policy:
        """Return a policy that was decided by."""
        return self._state.policy(policy_id)

    def remembers(self, signal: Signal) -> bool:
        """Tell whether the portfolio has decided the signal's id and, at its own time, remembers it."""
        portfolio = self.portfolio(signal.portfolio_id)
        if portfolio is None:
            return False
        decided = self._state.decided_signal(rows.signal_id_key(signal.portfolio_id, signal.signal_id))
        return decided is not None and is_remembered(decided.decided_at, portfolio.time)

    def open_orders(self, portfolio_id: str) -> list[Order]:
        """Return the orders that a portfolio is exposed by as it stands. Reads all that it remembers."""
        self.commit()
        prefix = rows.portfolio_key(portfolio_id) + rows.SEPARATOR
        found = []
        for key, raw in self.store.scan("orders", prefix):
            if not key.startswith(prefix):
                break
            if key.count(rows.SEPARATOR) == 1:
                order = rows.decode_order(raw)
                if exposes(order):
                    found.append(order)
        return found
