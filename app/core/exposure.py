"""Exposure and its limit: what is open and what is reserved, together, against 1 % of the portfolio's value."""

from decimal import Decimal

from app.core.exact import ZERO, at_least_zero
from app.core.policy import Policy
from app.core.state import Order, Portfolio


def reserved(order: Order) -> Decimal:
    """Return what a working order still holds of its notional; an ended one holds nothing."""
    return at_least_zero(order.notional - order.filled_cost) if order.working else ZERO


def order_exposure(order: Order) -> Decimal:
    """Return the open cost plus the reserved remainder of an order."""
    return order.open_cost + reserved(order)


def exposure_limit(portfolio: Portfolio, policy: Policy) -> Decimal | None:
    """Return the limit in money, never negative; None while the portfolio's value is unknown."""
    if portfolio.value is None:
        return None
    return at_least_zero(portfolio.value * policy.exposure_limit)


def is_breached(portfolio: Portfolio, policy: Policy) -> bool:
    """Judge the limit. Equal is within it; without a known value nothing is judged and the last judgement stays."""
    limit = exposure_limit(portfolio, policy)
    return portfolio.breached if limit is None else portfolio.exposure > limit
