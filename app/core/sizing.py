"""How large an order may be, before the limit is asked: value x base fraction x confidence x drawdown."""

from decimal import Decimal
from typing import NamedTuple

from app.core.exact import ONE, ZERO, to_notional, to_quantity
from app.core.policy import Policy
from app.core.state import Portfolio


class Factors(NamedTuple):
    """What multiplies the portfolio's value; published with every answer, also of a skipped signal."""

    base_fraction: Decimal
    confidence_multiplier: Decimal
    """0 below the minimum; but a policy may make it 0 above as well, so `confident` is told apart."""
    drawdown_multiplier: Decimal
    confident: bool
    """The confidence reaches `confidence_minimum`."""


def factors(portfolio: Portfolio, confidence: float, policy: Policy) -> Factors:
    """Return the factors for a portfolio as it stands and a confidence from 0 to 1.

    A confidence is compared as the exact decimal of its shortest representation: 0.6 is 0.6, not
    0.59999999999999998. The doubles nearest to the thresholds tell the same, and sooner. Rounding keeps the order, so
    a confidence below (above) a threshold's double is below (above) the threshold. A confidence that equals that
    double has the threshold itself as its shortest representation: up to 1 a threshold has at most 7 digits, and no
    other decimal of up to 15 digits has the same double.
    """
    confident = confidence >= policy.confidence_minimum_double
    if not confident:
        multiplier = ZERO
    elif confidence > policy.confidence_full_double:
        multiplier = policy.multiplier_full
    else:
        multiplier = policy.multiplier_reduced
    drawdown_multiplier = policy.drawdown_multiplier if portfolio.drawdown_active else ONE
    return Factors(policy.base_fractions[portfolio.phase - 1], multiplier, drawdown_multiplier, confident)


def notional(value: Decimal, by: Factors) -> Decimal:
    """Return the money to commit, rounded down to 0.01."""
    return to_notional(value * by.base_fraction * by.confidence_multiplier * by.drawdown_multiplier)


def quantity(money: Decimal, price: Decimal | None) -> Decimal | None:
    """Return money / price rounded down to 8 decimals; None without a price."""
    return None if price is None else to_quantity(money / price)
