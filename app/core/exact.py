"""Exact decimal arithmetic: no binary floating point touches money, no quotient is cut at 28 digits.

Sums and products are exact because no operand reaches half of the precision: inputs have at most 27 digits,
totals at most 38 (`TOTAL_LIMIT`), policy parameters at most 21. A quotient that is rounded afterwards is right as
well: with a divisor below 10^80 it cannot lie nearer than 10^-110 to a rounding boundary without lying on it, and
the precision resolves that.
"""

from collections.abc import Callable
from decimal import (
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    Context,
    Decimal,
    DivisionByZero,
    InvalidOperation,
    Overflow,
    getcontext,
    setcontext,
)
from functools import wraps
from typing import TypeVar, TypeVarTuple

CONTEXT = Context(prec=200, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation, DivisionByZero, Overflow])

ZERO = Decimal(0)
ONE = Decimal(1)
AMOUNT_LIMIT = Decimal(10) ** 15
"""Every decimal of an input is smaller than this in absolute value."""
TOTAL_LIMIT = Decimal(10) ** 26
"""A fill that brings a total to this is refused: with 12 decimals, a total has at most 38 digits."""

_TWELVE_PLACES = Decimal(1).scaleb(-12)
_EIGHT_PLACES = Decimal(1).scaleb(-8)
_SIX_PLACES = Decimal(1).scaleb(-6)
_CENT = Decimal(1).scaleb(-2)

Arguments = TypeVarTuple("Arguments")
R = TypeVar("R")


def exact(function: Callable[[*Arguments], R]) -> Callable[[*Arguments], R]:
    """Run a function under the exact context, whatever the calling thread's context is.

    Arguments are positional: keywords would be packed into a dictionary and out again at each event.
    """

    @wraps(function)
    def run(*args: *Arguments) -> R:
        outer = getcontext()
        setcontext(CONTEXT)
        try:
            return function(*args)
        finally:
            setcontext(outer)

    return run


def to_amount(value: Decimal) -> Decimal:
    """Round half-even to the 12 decimals of an amount."""
    return value.quantize(_TWELVE_PLACES, ROUND_HALF_EVEN, CONTEXT)


def to_amount_down(value: Decimal) -> Decimal:
    """Round towards zero to the 12 decimals of an amount (how a limit is published)."""
    return value.quantize(_TWELVE_PLACES, ROUND_DOWN, CONTEXT)


def to_notional(value: Decimal) -> Decimal:
    """Round towards zero to 0.01, the grain of a notional."""
    return value.quantize(_CENT, ROUND_DOWN, CONTEXT)


def to_quantity(value: Decimal) -> Decimal:
    """Round towards zero to 8 decimals, the grain of a quantity."""
    return value.quantize(_EIGHT_PLACES, ROUND_DOWN, CONTEXT)


def to_statistic(value: Decimal) -> Decimal:
    """Round half-even to the 6 decimals of a published win rate or profit factor."""
    return value.quantize(_SIX_PLACES, ROUND_HALF_EVEN, CONTEXT)


def at_least_zero(value: Decimal) -> Decimal:
    """Return the value, or zero if it is negative."""
    return value if value > ZERO else ZERO  # noqa: FURB136 - `max` takes four times as long


def plain(value: Decimal) -> str:
    """Return the canonical text: no exponent, no trailing fractional zeros, never `-0`."""
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
