"""When would the same signal have been sized? It is decided again at each later moment, as the portfolio then was."""

from collections.abc import Iterator
from decimal import Decimal

from app.codecs import canonical_time
from app.core.admission import SIGNAL_AGE_LIMIT
from app.core.messages import Fill, SizedOrder, SkipReason
from app.core.order import LAPSE_GRACE, is_lapsing
from app.core.state import Order, Portfolio
from app.replay.case import Alternative, Case
from app.replay.ledger import Ledger
from app.replay.recompute import Effect
from app.replay.step import Step

_MICROSECONDS = 1_000_000
_IN_NO_TIME = (SkipReason.LOW_CONFIDENCE, SkipReason.SIGNAL_EXPIRED)


class Later:
    """Looks for the first moment after a decision at which the signal would have been sized.

    All else is as it was: what came meanwhile had its orders. A moment is right after a fill or another decision, at
    its event time, or when a reservation has run out.
    """

    def __init__(self, case: Case, portfolio: Portfolio, orders: dict[str, Order]) -> None:
        """`portfolio`, `orders`: right after the decision."""
        self.found: Alternative | None = None
        self._case = case
        self._portfolio = portfolio
        self._orders = dict(orders)
        self._at = case.now
        stale = case.signal.generated_at + SIGNAL_AGE_LIMIT
        self._end = stale if case.signal.expires_at is None else min(stale, case.signal.expires_at)
        reason = case.answer.skip_reason
        self.is_over = reason is None or reason in _IN_NO_TIME

    def take(self, step: Step, ledger: Ledger) -> None:
        """Look at what lies between the last step and this one, and at what this one has changed."""
        effect = step.effect
        if self.is_over or effect is None:
            return
        at = step.message.transact_time if isinstance(step.message, Fill) else effect.after.time
        at = max(self._at, at)
        self._wait_until(at)
        if self.is_over:
            return
        self._at = at
        self._portfolio, self._orders = effect.after, dict(ledger.orders)
        self._try(at, _what(step, effect))

    def conclude(self) -> None:
        """Look at what is left to come when the history has ended: reservations that run out."""
        self._wait_until(self._end)
        self.is_over = True

    def _wait_until(self, at: int) -> None:
        for order in self._working():
            lapses = order.expires_at + LAPSE_GRACE + 1
            if self.is_over or lapses > at:
                return
            if lapses > self._at:
                self._try(lapses, f"the reservation of order {order.order_id} has lapsed")

    def _try(self, at: int, because: str) -> None:
        if at > self._end:
            self.is_over = True
            return
        case = self._case
        lapsing = [order for order in self._working() if is_lapsing(order.expires_at, at)]
        answer: SizedOrder = case.again(portfolio=self._portfolio, now=at, lapsing=lapsing)
        if answer.skip_reason is None:
            seconds = Decimal(at - case.now) / _MICROSECONDS
            decision = str(answer.decision)
            found = Alternative(
                "later", canonical_time(at), "from", decision, None, answer.notional, answer.quantity, seconds, because
            )
            self.found, self.is_over = found, True

    def _working(self) -> list[Order]:
        working = (order for order in self._orders.values() if order.working)
        return sorted(working, key=lambda order: (order.expires_at, order.sequence))


def _what(step: Step, effect: Effect) -> str:
    return ", ".join(_changes(step, effect)) or "a later decision"


def _changes(step: Step, effect: Effect) -> Iterator[str]:
    assert effect.before is not None, "the portfolio had a decision before"
    if isinstance(step.message, Fill):
        ((before, after),) = effect.orders
        assert before is not None, "a fill is of an order"
        if after.finished_at is None:
            yield f"a fill of order {after.order_id}"
        else:
            yield f"order {after.order_id} {'closed' if before.in_trade else 'ended without a fill'}"
    else:
        yield from (
            f"the reservation of order {order.order_id} has lapsed" for before, order in effect.orders if before
        )
    if effect.after.value != effect.before.value:
        yield f"the portfolio value became {effect.after.value}"
    if effect.after.drawdown_active != effect.before.drawdown_active:
        yield f"drawdown protection went {'on' if effect.after.drawdown_active else 'off'}"
    if effect.after.phase != effect.before.phase:
        yield f"phase {effect.after.phase} was earned"
