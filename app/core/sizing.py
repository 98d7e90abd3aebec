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
    0.59999999999999998.
    """
    exact_confidence = Decimal(repr(confidence))
    confident = exact_confidence >= policy.confidence_minimum
    if not confident:
        multiplier = ZERO
    elif exact_confidence > policy.confidence_full:
        multiplier = policy.multiplier_full
    else:
        multiplier = policy.multiplier_reduced
    return Factors(
        base_fraction=policy.base_fractions[portfolio.phase - 1],
        confidence_multiplier=multiplier,
        drawdown_multiplier=policy.drawdown_multiplier if portfolio.drawdown_active else ONE,
        confident=confident,
    )


def notional(value: Decimal, by: Factors) -> Decimal:
    """Return the money to commit, rounded down to 0.01."""
    return to_notional(value * by.base_fraction * by.confidence_multiplier * by.drawdown_multiplier)


def quantity(money: Decimal, price: Decimal | None) -> Decimal | None:
    """Return money / price rounded down to 8 decimals; None without a price."""
    return None if price is None else to_quantity(money / price)
