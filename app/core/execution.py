"""The effect of a fill on its order and its portfolio. A fill reads no clock and lapses nothing."""

from decimal import Decimal
from typing import NamedTuple

from app.core import order as order_life
from app.core.decision import with_value
from app.core.events import Journal
from app.core.exact import TOTAL_LIMIT, exact, plain
from app.core.exposure import order_exposure
from app.core.messages import OPEN, TRADE, ErrorCode, Fill, Ignored, PhaseEvent, Refused
from app.core.policy import Policy
from app.core.state import Order, Portfolio
from app.core.track_record import count_trade, judge_trade

_TOTAL_NAMES = (
    "the order's filled quantity",
    "the order's open quantity",
    "the order's filled cost",
    "the order's open cost",
    "the order's realised result",
    "the order's commissions",
    "the portfolio's exposure",
    "the portfolio's gross profit",
    "the portfolio's gross loss",
)
"""In the order of `_totals`."""
_TOTAL_DIGITS = TOTAL_LIMIT.adjusted()
"""Below this a total is below the limit, whatever its sign: told in a third of the time that two comparisons take."""


class Applied(NamedTuple):
    """What an applied fill causes."""

    portfolio: Portfolio
    order: Order
    events: tuple[PhaseEvent, ...]


@exact
def apply(portfolio: Portfolio, order: Order, fill: Fill, policy: Policy) -> Applied | Ignored | Refused:
    """Apply a fill to an order that its portfolio remembers.

    `policy`: the one of the portfolio's last decision. The caller has made sure that the order is not forgotten and
    that the exec id is new to it.
    """
    is_trade = fill.exec_type is TRADE
    opens = fill.position_effect is OPEN
    if is_trade and not opens and fill.last_qty > order.open_quantity:
        return Refused(
            ErrorCode.CLOSE_EXCEEDS_OPEN,
            f"closing {plain(fill.last_qty)} but only {plain(order.open_quantity)} of order {order.order_id} is open: "
            "check last_qty and position_effect, and that every opening trade was reported before",
        )
    if order_life.is_finished(order) and not (is_trade and opens):
        return Ignored.ORDER_FINISHED
    changed = _after(order, fill)
    ended = order_life.settle(changed, portfolio.time)
    result = portfolio.with_amounts(
        exposure=portfolio.exposure - order_exposure(order) + order_exposure(ended.order),
        value=portfolio.value,
        value_time=portfolio.value_time,
        order_sequence=portfolio.order_sequence,
        time=portfolio.time,
    )
    result = with_value(result, fill.portfolio_value, min(fill.transact_time, portfolio.time))
    if ended.result is not None:
        result = count_trade(result, order.phase, ended.result)
    too_large = _out_of_range(order, portfolio, _totals(changed, result))
    if too_large is not None:
        return Refused(
            ErrorCode.OUT_OF_RANGE,
            f"{too_large} would reach 10^26: check last_qty, last_px, commission and realized_pnl",
        )
    journal = Journal(result, fill.transact_time, order.order_id)
    if ended.result is not None:
        judge_trade(journal, order.phase, policy)
    journal.judge_limit(policy)
    return Applied(journal.portfolio, ended.order, tuple(journal.events))


def _after(order: Order, fill: Fill) -> Order:
    """Return the order after the report, not yet settled."""
    if fill.exec_type is TRADE:
        if fill.position_effect is OPEN:
            return order_life.open_trade(order, fill)
        return order_life.close_trade(order, fill)
    # A CANCELED, REJECTED or EXPIRED with CLOSE concerns an exit order: of it only the commission counts.
    order = order._replace(commissions=order.commissions + fill.commission)
    return order_life.end(order) if fill.position_effect is OPEN else order


def _totals(order: Order, portfolio: Portfolio) -> tuple[Decimal, ...]:
    *_, filled_quantity, filled_cost, open_quantity, open_cost, realized, commissions, _, _ = order
    _, _, _, gross_profit, gross_loss = portfolio.evidence
    exposure = portfolio.exposure
    return (
        filled_quantity,
        open_quantity,
        filled_cost,
        open_cost,
        realized,
        commissions,
        exposure,
        gross_profit,
        gross_loss,
    )


def _out_of_range(order: Order, portfolio: Portfolio, after: tuple[Decimal, ...]) -> str | None:
    """Name the first total that the fill brings out of range; one that a lapse brought there is none of its doing."""
    if max(map(Decimal.adjusted, after)) < _TOTAL_DIGITS:
        return None
    for name, old, new in zip(_TOTAL_NAMES, _totals(order, portfolio), after, strict=True):
        if abs(new) >= TOTAL_LIMIT and new != old:
            return name
    return None
