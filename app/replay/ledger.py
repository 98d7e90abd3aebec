"""What a portfolio's history says of where it stands: its orders, the trades of its streak and phase, since when."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from app.core.exact import ZERO, exact
from app.core.exposure import order_exposure, reserved
from app.core.messages import PhaseEvent, PhaseEventType, Side, SizedOrder
from app.core.order import is_past_memory
from app.core.state import Order
from app.replay.step import Step
from app.replay.trades import Trade

TRADES_KEPT = 100
"""The last trades of a streak and of a phase that are kept; longer ones are told by their counts."""


class Held(NamedTuple):
    """A portfolio value, and where it came from."""

    value: Decimal
    value_time: int
    """Event time, in microseconds since the epoch."""
    topic: str
    offset: int


class OpenOrder(NamedTuple):
    """An order that a portfolio is exposed by. Money in its currency, times in microseconds since the epoch."""

    order_id: str
    signal_id: str
    symbol: str
    side: Side
    decided_at: int
    is_working: bool
    notional: Decimal
    filled_cost: Decimal
    """Of the opening fills of its present trade."""
    open_quantity: Decimal
    open_cost: Decimal
    reserved: Decimal
    """What it still may cost: 0 once it has ended."""
    exposure: Decimal
    """Open cost and reserved remainder."""
    expires_at: int
    """60 s after this a reservation lapses, at the portfolio's next decision."""


class Ledger:
    """Follows one portfolio, step by step."""

    def __init__(self, topic_names: Mapping[str, str] | None = None) -> None:
        """`topic_names`: real names by logical name; None: the logical ones are told."""
        self._topic_names = topic_names or {}
        self.orders: dict[str, Order] = {}
        """Those that are not finished, by id."""
        self.held: Held | None = None
        self.policy_since: int | None = None
        """When it took its policy, in microseconds since the epoch."""
        self.phase_since: PhaseEvent | None = None
        """The last upgrade."""
        self.drawdown_since: PhaseEvent | None = None
        """When protection last went on."""
        self.drawdown_trades: tuple[Trade, ...] = ()
        """Those that it went on for."""
        self._streak: deque[Trade] = deque(maxlen=TRADES_KEPT)
        self._evidence: deque[Trade] = deque(maxlen=TRADES_KEPT)
        self._sized: dict[str, SizedOrder] = {}
        self._finished: deque[tuple[int, str]] = deque()
        self._finished_at: dict[str, int] = {}

    @property
    def streak(self) -> tuple[Trade, ...]:
        """The trades that were won, or lost, in a row; the last ones of a long streak. Scratches are not among them."""
        return tuple(self._streak)

    def evidence(self, phase: int) -> tuple[Trade, ...]:
        """Return the trades that counted for a phase, the last ones of many."""
        return tuple(trade for trade in self._evidence if trade.phase == phase)

    def take(self, step: Step) -> None:
        """Take note of what a record changed; the walk must keep trades."""
        effect = step.effect
        if effect is None:
            return
        before, after = effect.before, effect.after
        if effect.sized_order is not None and effect.sized_order.skip_reason is None:
            self._sized[effect.sized_order.order_id] = effect.sized_order
        for _, order in effect.orders:
            self._follow(order)
        for trade in step.trades:
            self._count(trade, effect.events)
        for event in effect.events:
            self._note(event)
        if after.value is not None and (
            before is None or (after.value, after.value_time) != (before.value, before.value_time)
        ):
            topic = step.record.topic
            name = self._topic_names.get(topic, topic)
            self.held = Held(after.value, after.value_time or 0, name, step.record.offset)
        self._forget(after.time)

    def open_orders(self, but: Iterable[Order] = ()) -> tuple[OpenOrder, ...]:
        """Return what the portfolio is exposed by, by sequence. `but`: orders as they are instead."""
        orders = {**self.orders, **{order.order_id: order for order in but}}
        found = [(order, self._sized[order.order_id]) for order in orders.values()]
        shown = [_open_order(order, sized) for order, sized in sorted(found, key=lambda pair: pair[0].sequence)]
        return tuple(order for order in shown if order.exposure)

    def _note(self, event: PhaseEvent) -> None:
        if event.type in (PhaseEventType.PORTFOLIO_OPENED, PhaseEventType.POLICY_CHANGED):
            self.policy_since = event.at
        elif event.type is PhaseEventType.PHASE_UPGRADED:
            self.phase_since = event

    def _forget(self, time: int) -> None:
        """Forget orders when the rules do."""
        while self._finished and is_past_memory(self._finished[0][0], time):
            finished_at, order_id = self._finished.popleft()
            if order_id not in self.orders and self._finished_at.get(order_id) == finished_at:
                del self._sized[order_id], self._finished_at[order_id]

    def _follow(self, order: Order) -> None:
        if order.finished_at is None:
            self.orders[order.order_id] = order
        elif self.orders.pop(order.order_id, None) is not None:
            self._finished.append((order.finished_at, order.order_id))
            self._finished_at[order.order_id] = order.finished_at

    def _count(self, trade: Trade, events: Sequence[PhaseEvent]) -> None:
        if trade.result:
            if self._streak and (self._streak[-1].result > ZERO) != (trade.result > ZERO):
                self._streak.clear()
            self._streak.append(trade)
        if trade.is_evidence:
            self._evidence.append(trade)
        for event in events:
            if event.type is PhaseEventType.DRAWDOWN_ENTERED and event.order_id == trade.order_id:
                self.drawdown_since, self.drawdown_trades = event, self.streak


@exact
def _open_order(order: Order, sized: SizedOrder) -> OpenOrder:
    return OpenOrder(
        order_id=order.order_id,
        signal_id=sized.signal_id,
        symbol=sized.symbol,
        side=order.side,
        decided_at=sized.decided_at,
        is_working=order.working,
        notional=order.notional,
        filled_cost=order.filled_cost,
        open_quantity=order.open_quantity,
        open_cost=order.open_cost,
        reserved=reserved(order),
        exposure=order_exposure(order),
        expires_at=order.expires_at,
    )
