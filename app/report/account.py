"""What a report knows of a portfolio: gathered step by step, of bounded size but for three numbers for each trade."""

from array import array
from collections import Counter, OrderedDict, deque
from decimal import Decimal
from typing import NamedTuple

from app.core.exact import ZERO, exact
from app.core.exposure import exposure_limit
from app.core.messages import PhaseEvent, PhaseEventType, SizedOrder
from app.replay import Effect, Step
from app.replay import Trade as ClosedTrade
from app.replay.counterfactual import fixed_sizing
from app.report.series import Series

KEPT_ORDERS = 500
KEPT_EVENTS = 200
_MICRO = 1_000_000
_FIXED = fixed_sizing().base_fractions[-1]
_NAN = float("nan")


class OrderRow(NamedTuple):
    """An answer, as the table of orders shows it."""

    order: SizedOrder
    result: Decimal | None
    """Of its closed trades; None if it has none."""


class Streak(NamedTuple):
    """Trades in a row of one kind; a scratch neither ends nor lengthens it."""

    is_win: bool
    length: int


class TradeList:
    """All closed trades, as numbers: times in seconds since the epoch, money as doubles for charts and ratios."""

    def __init__(self) -> None:
        self.times = array("d")
        self.results = array("d")
        self.fixed = array("d")
        """What they would have brought at fixed sizing."""
        self.total = ZERO
        self.fixed_total = ZERO

    def add(self, time: float, trade: ClosedTrade) -> None:
        """Take a trade note of."""
        fixed = at_fixed_size(trade)
        self.times.append(time)
        self.results.append(float(trade.result))
        self.fixed.append(float(fixed))
        self.total += trade.result
        self.fixed_total += fixed

    def __len__(self) -> int:
        return len(self.times)

    def streaks(self) -> list[Streak]:
        """Return the streaks, in order; the last one may go on."""
        found: list[Streak] = []
        for result in self.results:
            if not result:
                continue
            if found and found[-1].is_win == (result > 0):
                found[-1] = Streak(result > 0, found[-1].length + 1)
            else:
                found.append(Streak(result > 0, 1))
        return found


@exact
def at_fixed_size(trade: ClosedTrade) -> Decimal:
    """Return the result that a trade would have had at the last phase's fraction, without any rule.

    Its fills are scaled by the ratio of the two sizes before they are rounded to cents: same prices, commissions in
    proportion. An order has a positive notional, so no factor is 0.
    """
    factor = trade.base_fraction * trade.confidence_multiplier * trade.drawdown_multiplier
    return (trade.result * _FIXED / factor).quantize(Decimal("1e-12"))


class Account:
    """A portfolio's part of a history."""

    def __init__(self, portfolio_id: str, partition: int) -> None:
        self.portfolio_id = portfolio_id
        self.partition = partition
        self.outcomes = Counter[str]()
        """Decisions: `SIZED`, or the reason of the skip."""
        self.event_counts = Counter[str]()
        self.events: deque[PhaseEvent] = deque(maxlen=KEPT_EVENTS)
        self.trades = TradeList()
        self.exposure = Series(2)
        """Exposure and limit, money."""
        self.phases = Series(2)
        """Phase; and 1 while drawdown protection is on, else 0."""
        self.costs = Series(2)
        """Of a closed trade: its cost, and the share of the notional that it is."""
        self.start_value: Decimal | None = None
        """The first value above 0 that it was sized by."""
        self.value: Decimal | None = None
        self.phase = 1
        self.drawdown_active = False
        self.consecutive_wins = 0
        self.consecutive_losses = 0
        self.first_time: float | None = None
        self.time = 0.0
        """Of the last change, seconds since the epoch."""
        self.peak_use = 0.0
        """The most exposure as a share of the limit."""
        self._orders: OrderedDict[str, OrderRow] = OrderedDict()
        self._limit: Decimal | None = None
        self._used_seconds = 0.0
        self._limited_seconds = 0.0
        self._use = _NAN

    @property
    def decisions(self) -> int:
        """How many signals were answered."""
        return self.outcomes.total()

    @property
    def orders(self) -> list[OrderRow]:
        """The last answers, newest first."""
        return list(reversed(self._orders.values()))

    @property
    def mean_use(self) -> float:
        """Exposure as a share of the limit, weighted by time; nan if no time passed with a limit."""
        return self._used_seconds / self._limited_seconds if self._limited_seconds else _NAN

    def take(self, step: Step, effect: Effect) -> None:
        """Take note of a step that changed the portfolio."""
        time = self._at(step, effect)
        if self.first_time is None:
            self.first_time = time
        after = effect.after
        self._pass(time)
        if effect.sized_order is not None:
            self._decide(effect.sized_order)
        elif after.value != self.value and step.policy is not None:
            self._limit = exposure_limit(after, step.policy)
        if after.value is not None:
            self.value = after.value
            if self.start_value is None and after.value > 0:
                self.start_value = after.value
        self._expose(time, float(after.exposure))
        for event in effect.events:
            self.event_counts[event.type] += 1
            self.events.append(event)
            if event.type is PhaseEventType.PHASE_UPGRADED or event.type.startswith("DRAWDOWN_"):
                self.phases.add(time, event.phase, event.drawdown_active)
        if not self.phases.count:
            self.phases.add(time, after.phase, after.drawdown_active)
        for trade in step.trades:
            self._close(time, trade)
        self.phase, self.drawdown_active = after.phase, after.drawdown_active
        self.consecutive_wins, self.consecutive_losses = after.consecutive_wins, after.consecutive_losses

    def _at(self, step: Step, effect: Effect) -> float:
        """Return the time of a step, never before that of the last one.

        A fill's is the venue's, which can be anything: at most that of its record, where that is known.
        """
        if effect.sized_order is not None:
            return max(self.time, effect.after.time / _MICRO)
        transact_time: int = getattr(step.message, "transact_time", 0)
        told = transact_time / _MICRO
        return max(self.time, min(told, step.record.timestamp / 1000) if step.record.timestamp > 0 else told)

    def _pass(self, time: float) -> None:
        """Let time pass with the exposure as it stands."""
        if self._use == self._use:
            self._used_seconds += self._use * (time - self.time)
            self._limited_seconds += time - self.time
        self.time = time

    def _decide(self, order: SizedOrder) -> None:
        self.outcomes[order.decision if order.skip_reason is None else order.skip_reason] += 1
        self._limit = order.exposure_limit
        self._orders[order.order_id] = OrderRow(order, None)
        if len(self._orders) > KEPT_ORDERS:
            self._orders.popitem(last=False)

    def _expose(self, time: float, exposure: float) -> None:
        limit = _NAN if self._limit is None else float(self._limit)
        self._use = exposure / limit if limit > 0 else _NAN
        self.peak_use = max(self.peak_use, self._use)  # nan is no more than anything
        self.exposure.add(time, exposure, limit)

    def _close(self, time: float, trade: ClosedTrade) -> None:
        self.trades.add(time, trade)
        cost = float(trade.entry_cost)
        self.costs.add(time, cost, cost / float(trade.notional))
        row = self._orders.get(trade.order_id)
        if row is not None:
            self._orders[trade.order_id] = row._replace(result=(row.result or ZERO) + trade.result)
