"""The life of an order: it works, ends (completed, canceled, rejected, expired or lapsed) and finishes when flat.

It never works again, whatever later reports say; but an opening trade is always real, even on a finished order,
where it starts a further trade.
"""

from decimal import Decimal
from typing import NamedTuple

from app.core.exact import ZERO, to_amount
from app.core.messages import BUY, Fill
from app.core.state import Order

HOUR = 60 * 60 * 1_000_000
LAPSE_GRACE = 60 * 1_000_000
"""A reservation lapses when `expires_at` lies further back than this: a venue's last report may be on its way."""
ORDER_MEMORY = 24 * HOUR


class Ended(NamedTuple):
    """An order after something that can end its trade."""

    order: Order
    result: Decimal | None
    """Of the trade that closed with it: realised minus commissions; None if no trade closed."""


def is_finished(order: Order) -> bool:
    """Tell whether the order has ended and is flat."""
    return order.finished_at is not None


def is_forgotten(order: Order, portfolio_time: int) -> bool:
    """Tell whether a finished order counts as absent. One with an open position is never forgotten."""
    return order.finished_at is not None and is_past_memory(order.finished_at, portfolio_time)


def is_past_memory(finished_at: int, portfolio_time: int) -> bool:
    """Tell whether an order that finished then is remembered no more."""
    return portfolio_time > finished_at + ORDER_MEMORY


def is_lapsing(expires_at: int, now: int) -> bool:
    """Tell whether a working order's reservation lapses at a decision."""
    return expires_at + LAPSE_GRACE < now


def open_trade(order: Order, fill: Fill) -> Order:
    """Apply an opening TRADE: counted in full, also after the order's end, above its notional or its quantity."""
    if is_finished(order):
        order = order._replace(finished_at=None, filled_cost=ZERO, realized=ZERO, commissions=ZERO)
    cost = trade_cost(fill)
    filled_quantity = order.filled_quantity + fill.last_qty
    return order.traded(
        working=order.working and not _completes(order, fill, filled_quantity),
        filled_quantity=filled_quantity,
        filled_cost=order.filled_cost + cost,
        open_quantity=order.open_quantity + fill.last_qty,
        open_cost=order.open_cost + cost,
        realized=order.realized,
        commissions=order.commissions + fill.commission,
        in_trade=True,
    )


def close_trade(order: Order, fill: Fill) -> Order:
    """Apply a closing TRADE of at most the open quantity: its share of the open cost leaves, its result is realised."""
    whole = fill.last_qty == order.open_quantity
    share = order.open_cost if whole else to_amount(order.open_cost * fill.last_qty / order.open_quantity)
    realized = fill.realized_pnl
    if realized is None:
        cost = trade_cost(fill)
        realized = cost - share if order.side is BUY else share - cost
    return order.traded(
        working=order.working,
        filled_quantity=order.filled_quantity,
        filled_cost=order.filled_cost,
        open_quantity=order.open_quantity - fill.last_qty,
        open_cost=order.open_cost - share,
        realized=order.realized + realized,
        commissions=order.commissions + fill.commission,
        in_trade=order.in_trade,
    )


def end(order: Order) -> Order:
    """End an order by a report or by lapse: what is filled stays open, the reservation ends."""
    return order._replace(working=False)


def settle(order: Order, portfolio_time: int) -> Ended:
    """Finish an order that has ended and is flat, and close its trade if it had one."""
    if order.working or order.open_quantity or order.finished_at is not None:
        return Ended(order, None)
    result = order.realized - order.commissions if order.in_trade else None
    return Ended(order.finished(portfolio_time), result)


def trade_cost(fill: Fill) -> Decimal:
    """Return last_qty x last_px, rounded half-even to 12 decimals before any use."""
    return to_amount(fill.last_qty * fill.last_px)


def _completes(order: Order, fill: Fill, filled_quantity: Decimal) -> bool:
    if fill.leaves_qty is not None:
        return not fill.leaves_qty
    return order.quantity is not None and filled_quantity >= order.quantity
