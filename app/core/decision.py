"""The decision on a signal that was admitted, in the order of the rules.

1. a changed policy is taken, then a newer portfolio value; reservations that are overdue lapse; the limit is judged
2. trading halted (reserved: nothing halts yet)      3. the signal has expired      4. low confidence
5. no portfolio value                                6. below the minimum size      7. beyond the exposure limit
8. sized: the whole notional is reserved before anyone sees the order
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

from app.core import order as order_life
from app.core import sizing
from app.core.events import Journal
from app.core.exact import ZERO, exact, to_amount_down
from app.core.exposure import exposure_limit, order_exposure
from app.core.messages import (
    LAST_TIME,
    SIZED,
    SKIPPED,
    PhaseEvent,
    PhaseEventType,
    Signal,
    SizedOrder,
    SkipReason,
    order_id_of,
)
from app.core.policy import Policy
from app.core.state import Order, Portfolio
from app.core.track_record import count_trade, judge_trade


class Decided(NamedTuple):
    """What a decided signal causes. `orders`: the lapsed ones, then the new one if sized."""

    portfolio: Portfolio
    orders: tuple[Order, ...]
    events: tuple[PhaseEvent, ...]
    sized_order: SizedOrder


class _Size(NamedTuple):
    notional: Decimal
    quantity: Decimal | None
    skip_reason: SkipReason | None


_SIGNAL_EXPIRED = _Size(ZERO, None, SkipReason.SIGNAL_EXPIRED)
_LOW_CONFIDENCE = _Size(ZERO, None, SkipReason.LOW_CONFIDENCE)
_NO_PORTFOLIO_VALUE = _Size(ZERO, None, SkipReason.NO_PORTFOLIO_VALUE)
_BELOW_MINIMUM_SIZE = _Size(ZERO, None, SkipReason.BELOW_MINIMUM_SIZE)
_EXPOSURE_LIMIT = _Size(ZERO, None, SkipReason.EXPOSURE_LIMIT)


@exact
def decide(
    portfolio: Portfolio | None,
    signal: Signal,
    now: int,
    policy: Policy,
    lapsing: Sequence[Order],
    signal_offset: int,
    fills_offset: int,
) -> Decided:
    """Decide a signal.

    `portfolio`: None at its first signal. `now`: the worker's clock, but never before portfolio time. `lapsing`: the
    portfolio's working orders for which `order.is_lapsing` holds, in any order. `fills_offset`: of the last record
    of the partition's fills taken before, -1 if none.
    """
    journal = _take_policy(portfolio, signal.portfolio_id, policy, now)
    _take_value(journal, signal, now)
    lapsed = _lapse_all(journal, lapsing, policy) if lapsing else ()
    journal.judge_limit(policy)

    before = journal.portfolio
    by = sizing.factors(before, signal.confidence, policy)
    limit = exposure_limit(before, policy)
    notional, quantity, skip_reason = _size(before, signal, by, limit, now)
    # A promise that would end after the last time that can be written ends then.
    expires_at = min(now + policy.reservation_ttl, LAST_TIME)
    sized = skip_reason is None
    _, _, phase, _, wins, losses, _, exposure, _, value, value_time, order_sequence, _, _ = before
    after = before.with_amounts(
        exposure=exposure + notional,
        value=value,
        value_time=value_time,
        order_sequence=order_sequence + 1,
        time=now,
    )
    # In the order of the fields: to name them all would take longer than any other step of the decision.
    signal_id, portfolio_id, symbol, side, confidence, price, _, strategy_id, _, _ = signal
    sized_order = SizedOrder(
        order_id_of(signal),
        signal_id,
        portfolio_id,
        symbol,
        side,
        strategy_id,
        SIZED if sized else SKIPPED,
        skip_reason,
        notional,
        quantity,
        price,
        value,
        phase,
        by.base_fraction,
        confidence,
        by.confidence_multiplier,
        by.drawdown_multiplier,
        exposure,  # exposure_before
        after.exposure,  # exposure_after
        None if limit is None else to_amount_down(limit),
        wins,
        losses,
        after.order_sequence,
        signal_offset,
        fills_offset,
        now,  # decided_at
        _send_before(signal, expires_at) if sized else None,
        expires_at if sized else None,
        policy.policy_id,
    )
    new = (_order(sized_order, expires_at),) if sized else ()
    return Decided(after, (*lapsed, *new), tuple(journal.events), sized_order)


def _take_policy(portfolio: Portfolio | None, portfolio_id: str, policy: Policy, now: int) -> Journal:
    """Open a new portfolio, in phase 1, or take a changed policy; phase, evidence and drawdown held stay."""
    if portfolio is None:
        journal = Journal(Portfolio(portfolio_id, policy.policy_id), now)
        journal.add(PhaseEventType.PORTFOLIO_OPENED, policy=policy)
        return journal
    if portfolio.policy_id == policy.policy_id:
        return Journal(portfolio, now)
    journal = Journal(portfolio._replace(policy_id=policy.policy_id), now)
    journal.add(PhaseEventType.POLICY_CHANGED, policy=policy)
    return journal


def _take_value(journal: Journal, signal: Signal, now: int) -> None:
    journal.portfolio = with_value(journal.portfolio, signal.portfolio_value, min(signal.generated_at, now))


def with_value(portfolio: Portfolio, value: Decimal | None, event_time: int) -> Portfolio:
    """Take a given portfolio value unless the one held is of a later event time."""
    if value is None or (portfolio.value_time is not None and event_time < portfolio.value_time):
        return portfolio
    return portfolio.with_amounts(
        exposure=portfolio.exposure,
        value=value,
        value_time=event_time,
        order_sequence=portfolio.order_sequence,
        time=portfolio.time,
    )


def _lapse_all(journal: Journal, lapsing: Sequence[Order], policy: Policy) -> tuple[Order, ...]:
    in_order = sorted(lapsing, key=lambda order: (order.expires_at, order.sequence))
    lapsed = tuple([_lapse(journal, order, policy) for order in in_order])
    journal.order_id = None
    return lapsed


def _lapse(journal: Journal, order: Order, policy: Policy) -> Order:
    """End a reservation that is overdue: what is filled stays open; if that closes a trade, its result counts now."""
    ended = order_life.settle(order_life.end(order), journal.at)
    portfolio = journal.portfolio
    portfolio = portfolio._replace(exposure=portfolio.exposure - order_exposure(order) + order_exposure(ended.order))
    if ended.result is not None:
        portfolio = count_trade(portfolio, order.phase, ended.result)
    journal.portfolio = portfolio
    journal.order_id = order.order_id
    journal.add(PhaseEventType.RESERVATION_EXPIRED)
    if ended.result is not None:
        judge_trade(journal, order.phase, policy)
    return ended.order


def _size(portfolio: Portfolio, signal: Signal, by: sizing.Factors, limit: Decimal | None, now: int) -> _Size:
    """Size the signal or say why not: the first reason that holds, in the order of the rules."""
    if signal.expires_at is not None and signal.expires_at < now:
        return _SIGNAL_EXPIRED
    if not by.confident:
        return _LOW_CONFIDENCE
    if portfolio.value is None or limit is None or portfolio.value <= ZERO:
        return _NO_PORTFOLIO_VALUE
    notional = sizing.notional(portfolio.value, by)
    quantity = sizing.quantity(notional, signal.price)
    if not notional or (quantity is not None and not quantity):
        return _BELOW_MINIMUM_SIZE
    if portfolio.exposure + notional > limit:
        return _EXPOSURE_LIMIT
    return _Size(notional, quantity, None)


def _send_before(signal: Signal, expires_at: int) -> int:
    return expires_at if signal.expires_at is None else min(expires_at, signal.expires_at)


def _order(sized_order: SizedOrder, expires_at: int) -> Order:
    return Order(
        sized_order.order_id,
        sized_order.portfolio_id,
        sized_order.side,
        sized_order.phase,
        sized_order.sequence,
        sized_order.notional,
        sized_order.quantity,
        expires_at,
    )
