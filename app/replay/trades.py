"""Closed trades: the round trips of orders, put together from the steps of a partition's history."""

from collections import deque
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from app.core.exact import ZERO, exact, to_amount
from app.core.messages import OPEN, TRADE, Fill, PhaseEventType, Refused, Side, Signal, SizedOrder
from app.core.order import is_past_memory, trade_cost
from app.core.state import Order
from app.processor import Record
from app.replay.recompute import Effect


class Trade(NamedTuple):
    """A closed trade. Money and prices in the portfolio's currency, times in microseconds since the epoch."""

    portfolio_id: str
    order_id: str
    number: int
    """1, 2, ... of the order: a late fill on a finished order begins a further trade of it."""
    signal_id: str
    symbol: str
    side: Side
    strategy_id: str | None
    confidence: float
    phase: int
    """That the order was sized in."""
    base_fraction: Decimal
    confidence_multiplier: Decimal
    drawdown_multiplier: Decimal
    notional: Decimal
    """What the order was allowed to cost."""
    policy_id: str
    """That sized the order."""
    decided_at: int
    opened_at: int
    """`transact_time` of the trade's first opening fill."""
    closed_at: int
    """`transact_time` of the report that closed it; `decided_at` of the decision that did, by a lapse."""
    holding_time: int
    """From `opened_at` to `closed_at`; below 0 if the venue's times say so."""
    entry_quantity: Decimal
    entry_cost: Decimal
    entry_price: Decimal
    """Cost by quantity, half-even to 12 decimals."""
    exit_quantity: Decimal
    exit_value: Decimal
    """Quantities times prices of the closing fills, each half-even to 12 decimals."""
    exit_price: Decimal
    realized: Decimal
    """Of its closing fills: computed, or as they said."""
    commissions: Decimal
    result: Decimal
    """Realised minus commissions: above 0 a win, below a loss, 0 a scratch."""
    is_evidence: bool
    """It counted for the phase: the portfolio was still in the phase that the order was sized in."""
    portfolio_value: Decimal | None
    """That the portfolio held after the record that closed it."""
    closed_by: str
    """That record's topic: `fills`, or `signals` where a decision lapsed the order."""
    closed_by_offset: int
    closed_by_timestamp: int
    """The topic's, in milliseconds since the epoch; -1: not known."""


class _Ticket:
    """What is known of an order beside its state, and of its present trade."""

    __slots__ = (
        "entry_cost",
        "entry_quantity",
        "exit_quantity",
        "exit_value",
        "finished_at",
        "number",
        "opened_at",
        "sized",
    )

    def __init__(self, sized: tuple[Any, ...]) -> None:
        self.sized = sized
        """In the order of `_SIZED`."""
        self.number = self.opened_at = 0
        self.entry_quantity = self.entry_cost = self.exit_quantity = self.exit_value = ZERO
        self.finished_at: int | None = None


_SIZED = (
    "signal_id",
    "symbol",
    "strategy_id",
    "confidence",
    "base_fraction",
    "confidence_multiplier",
    "drawdown_multiplier",
    "policy_id",
    "decided_at",
)
_SIZED_DECIMALS = tuple(_SIZED.index(name) for name in _SIZED if SizedOrder.__annotations__[name] is Decimal)


class TradeBook:
    """Follows the orders of a partition; forgets them when the rules do."""

    def __init__(self, rows: Iterable[bytes] = ()) -> None:
        """`rows`: what `rows()` gave before. Raises ValueError, LookupError or TypeError if they are none."""
        self._tickets: dict[tuple[str, str], _Ticket] = {}
        self._finished: dict[str, deque[tuple[int, str]]] = {}
        for row in rows:
            self._load(*orjson.loads(row))
        for portfolio_id, finished in self._finished.items():
            self._finished[portfolio_id] = deque(sorted(finished))

    @exact
    def take(self, record: Record, message: Signal | Fill | Refused, effect: Effect) -> tuple[Trade, ...]:
        """Take note of what a record changed; return the trades that closed with it. `message`: what it says."""
        fill = message if isinstance(message, Fill) else None
        if fill is not None:
            self._fill(fill, effect.orders[0].before)
        trades: list[Trade] = []
        phase = 0 if effect.before is None else effect.before.phase
        for before, after in effect.orders:
            if before is None:
                assert effect.sized_order is not None, "only a decision makes an order"
                sized = tuple(getattr(effect.sized_order, name) for name in _SIZED)
                self._tickets[after.portfolio_id, after.order_id] = _Ticket(sized)
            elif before.finished_at is None and after.finished_at is not None:
                ticket = self._tickets[after.portfolio_id, after.order_id]
                self._finish(ticket, after)
                if before.in_trade:
                    at = effect.after.time if fill is None else fill.transact_time
                    trades.append(_trade(ticket, after, effect, at, record, is_evidence=after.phase == phase))
            phase += any(
                event.type is PhaseEventType.PHASE_UPGRADED and event.order_id == after.order_id
                for event in effect.events
            )
        if fill is None:
            self._forget(effect.after.portfolio_id, effect.after.time)
        return tuple(trades)

    def rows(self) -> Iterator[bytes]:
        """Yield what a book must know to go on from here, a row for each order."""
        for (portfolio_id, order_id), ticket in self._tickets.items():
            amounts = (ticket.entry_quantity, ticket.entry_cost, ticket.exit_quantity, ticket.exit_value)
            row = (portfolio_id, order_id, ticket.sized, ticket.number, ticket.opened_at, amounts, ticket.finished_at)
            yield orjson.dumps(row, default=str)  # decimals are all that it does not know

    def _fill(self, fill: Fill, before: Order | None) -> None:
        assert before is not None, "a fill is of an order"
        ticket = self._tickets[fill.portfolio_id, fill.order_id]
        if fill.exec_type is not TRADE:
            return
        if fill.position_effect is not OPEN:
            ticket.exit_quantity += fill.last_qty
            ticket.exit_value += trade_cost(fill)
            return
        if not before.in_trade:
            ticket.number += 1
            ticket.opened_at = fill.transact_time
            ticket.finished_at = None
            ticket.entry_quantity = ticket.entry_cost = ticket.exit_quantity = ticket.exit_value = ZERO
        ticket.entry_quantity += fill.last_qty
        ticket.entry_cost += trade_cost(fill)

    def _finish(self, ticket: _Ticket, order: Order) -> None:
        assert order.finished_at is not None
        ticket.finished_at = order.finished_at
        self._finished.setdefault(order.portfolio_id, deque()).append((order.finished_at, order.order_id))

    def _forget(self, portfolio_id: str, time: int) -> None:
        finished = self._finished.get(portfolio_id)
        while finished and is_past_memory(finished[0][0], time):
            finished_at, order_id = finished.popleft()
            ticket = self._tickets.get((portfolio_id, order_id))
            if ticket is not None and ticket.finished_at == finished_at:
                del self._tickets[portfolio_id, order_id]

    def _load(
        self,
        portfolio_id: str,
        order_id: str,
        sized: list[Any],
        number: int,
        opened_at: int,
        amounts: list[str],
        finished_at: int | None,
    ) -> None:
        for place in _SIZED_DECIMALS:
            sized[place] = Decimal(sized[place])
        ticket = self._tickets[portfolio_id, order_id] = _Ticket(tuple(sized))
        ticket.number, ticket.opened_at, ticket.finished_at = number, opened_at, finished_at
        quantity, cost, out, value = map(Decimal, amounts)
        ticket.entry_quantity, ticket.entry_cost, ticket.exit_quantity, ticket.exit_value = quantity, cost, out, value
        if finished_at is not None:
            self._finished.setdefault(portfolio_id, deque()).append((finished_at, order_id))


def _trade(ticket: _Ticket, order: Order, effect: Effect, at: int, record: Record, *, is_evidence: bool) -> Trade:
    signal_id, symbol, strategy_id, confidence, fraction, by_confidence, by_drawdown, policy_id, decided_at = (
        ticket.sized
    )
    return Trade(
        portfolio_id=order.portfolio_id,
        order_id=order.order_id,
        number=ticket.number,
        signal_id=signal_id,
        symbol=symbol,
        side=order.side,
        strategy_id=strategy_id,
        confidence=confidence,
        phase=order.phase,
        base_fraction=fraction,
        confidence_multiplier=by_confidence,
        drawdown_multiplier=by_drawdown,
        notional=order.notional,
        policy_id=policy_id,
        decided_at=decided_at,
        opened_at=ticket.opened_at,
        closed_at=at,
        holding_time=at - ticket.opened_at,
        entry_quantity=ticket.entry_quantity,
        entry_cost=ticket.entry_cost,
        entry_price=to_amount(ticket.entry_cost / ticket.entry_quantity),
        exit_quantity=ticket.exit_quantity,
        exit_value=ticket.exit_value,
        exit_price=to_amount(ticket.exit_value / ticket.exit_quantity),
        realized=order.realized,
        commissions=order.commissions,
        result=order.realized - order.commissions,
        is_evidence=is_evidence,
        portfolio_value=effect.after.value,
        closed_by=record.topic,
        closed_by_offset=record.offset,
        closed_by_timestamp=record.timestamp,
    )
