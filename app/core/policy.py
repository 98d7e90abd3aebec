"""The locked policy: a configured one may be tighter than the table, never looser.

Nothing but closed trades promotes a portfolio and nothing starts one above phase 1; both follow from there being
no parameter for it.
"""

import hashlib
import json
import re
import reprlib
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from app.core.exact import AMOUNT_LIMIT, plain

PARAMETER_DECIMALS = 6
RESERVATION_TTL_MINIMUM = Decimal(60)
RESERVATION_TTL_MAXIMUM = Decimal(24 * 60 * 60)
MICROSECONDS = 1_000_000
_DECIMAL_TEXT = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class Tighter(StrEnum):
    """In which direction a parameter may leave the table."""

    SMALLER = "at most"
    LARGER = "at least"
    FREE = "free"


class Parameter(NamedTuple):
    """One row of the table. `table` is an int for a count, a Decimal for all else."""

    table: Decimal | int
    tighter: Tighter


TABLE: Mapping[str, Parameter] = {
    # The fraction of the portfolio's value that a signal of full confidence gets, by phase.
    "base_fraction_1": Parameter(Decimal("0.001"), Tighter.SMALLER),
    "base_fraction_2": Parameter(Decimal("0.0025"), Tighter.SMALLER),
    "base_fraction_3": Parameter(Decimal("0.005"), Tighter.SMALLER),
    # confidence > confidence_full: multiplier_full; >= confidence_minimum: multiplier_reduced; below: skipped.
    "confidence_full": Parameter(Decimal("0.85"), Tighter.LARGER),
    "confidence_minimum": Parameter(Decimal("0.6"), Tighter.LARGER),
    "multiplier_full": Parameter(Decimal(1), Tighter.SMALLER),
    "multiplier_reduced": Parameter(Decimal("0.75"), Tighter.SMALLER),
    # Drawdown protection: on after so many consecutive losing trades, off after so many consecutive winning ones.
    "drawdown_multiplier": Parameter(Decimal("0.5"), Tighter.SMALLER),
    "drawdown_on_losses": Parameter(2, Tighter.SMALLER),
    "drawdown_off_wins": Parameter(2, Tighter.LARGER),
    # All that is open and reserved together, as a fraction of the portfolio's value.
    "exposure_limit": Parameter(Decimal("0.01"), Tighter.SMALLER),
    # The proof that a phase asks for: at least so many trades, win rate and profit factor above these.
    "phase_2_trades": Parameter(20, Tighter.LARGER),
    "phase_2_win_rate": Parameter(Decimal("0.55"), Tighter.LARGER),
    "phase_2_profit_factor": Parameter(Decimal("1.2"), Tighter.LARGER),
    "phase_3_trades": Parameter(50, Tighter.LARGER),
    "phase_3_win_rate": Parameter(Decimal("0.58"), Tighter.LARGER),
    "phase_3_profit_factor": Parameter(Decimal("1.5"), Tighter.LARGER),
    # How long an order's notional stays reserved for it, in seconds.
    "reservation_ttl": Parameter(Decimal(15 * 60), Tighter.FREE),
}


class PolicyError(ValueError):
    """A parameter that is unknown, malformed or looser than the table; the message names it."""


class Proof(NamedTuple):
    """What a portfolio must show to enter a phase."""

    trades: int
    win_rate: Decimal
    profit_factor: Decimal


class Policy:
    """A checked set of parameters. Fractions and multipliers are plain numbers (0.001 = 0.1 %)."""

    def __init__(self, values: Mapping[str, object] | None = None) -> None:
        """Take the parameters by name; a missing one takes the table's value.

        Raises PolicyError, which names the parameter, its value and what was expected.
        """
        given = {} if values is None else values
        for name in given:
            if name not in TABLE:
                told = name if name.isprintable() else ascii(name)
                raise PolicyError(f"{told}: no such parameter; known are {', '.join(TABLE)}")
        self._take({name: _checked(name, given[name]) if name in given else row.table for name, row in TABLE.items()})

    def _take(self, parameters: Mapping[str, Decimal | int]) -> None:
        """Take all parameters, by name; whether they are tighter than the table was asked before."""
        self.parameters = parameters
        value = {name: Decimal(parameter) for name, parameter in parameters.items()}
        self.base_fractions = (value["base_fraction_1"], value["base_fraction_2"], value["base_fraction_3"])
        self.confidence_full = value["confidence_full"]
        self.confidence_minimum = value["confidence_minimum"]
        self.confidence_full_double = float(self.confidence_full)
        self.confidence_minimum_double = float(self.confidence_minimum)
        self.multiplier_full = value["multiplier_full"]
        self.multiplier_reduced = value["multiplier_reduced"]
        self.drawdown_multiplier = value["drawdown_multiplier"]
        self.drawdown_on_losses = int(value["drawdown_on_losses"])
        self.drawdown_off_wins = int(value["drawdown_off_wins"])
        self.exposure_limit = value["exposure_limit"]
        self.proofs = {
            phase: Proof(
                int(value[f"phase_{phase}_trades"]),
                value[f"phase_{phase}_win_rate"],
                value[f"phase_{phase}_profit_factor"],
            )
            for phase in (2, 3)
        }
        self.reservation_ttl = int(value["reservation_ttl"] * MICROSECONDS)
        """Microseconds."""

    @cached_property
    def canonical(self) -> str:
        """All parameters as canonical JSON: sorted keys, no spaces, counts as integers, all else decimal strings."""
        values = {
            name: parameter if isinstance(parameter, int) else plain(parameter)
            for name, parameter in self.parameters.items()
        }
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    @cached_property
    def policy_id(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON: equal parameters, equal id."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()[:16]


def _checked(name: str, value: object) -> Decimal | int:
    table, tighter = TABLE[name]
    checked = _count(name, value) if isinstance(table, int) else _decimal(name, value)
    if tighter is Tighter.FREE:
        if not RESERVATION_TTL_MINIMUM <= checked <= RESERVATION_TTL_MAXIMUM:
            raise PolicyError(f"{name} = {value}: must be 60 (1 minute) to 86400 (24 hours) seconds")
    elif (checked > table) if tighter is Tighter.SMALLER else (checked < table):
        raise PolicyError(f"{name} = {value}: looser than the locked policy, must be {tighter} {plain(Decimal(table))}")
    return checked


def _count(name: str, value: object) -> int:
    number = _decimal(name, value)
    if number < 1 or number != int(number):
        raise PolicyError(f"{name} = {value}: must be a whole number, at least 1")
    return int(number)


def _decimal(name: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise PolicyError(f"{name} = {reprlib.repr(value)}: must be a decimal, as a number or a string")
    if isinstance(value, str) and not _DECIMAL_TEXT.fullmatch(value):
        raise PolicyError(f"{name} = {value!r}: is not a decimal number such as 0.001")
    number = Decimal(repr(value) if isinstance(value, float) else value)
    if not number.is_finite() or not 0 <= number < AMOUNT_LIMIT:
        raise PolicyError(f"{name} = {number:.30}: must be at least 0 and below 10^15")
    if number != round(number, PARAMETER_DECIMALS):
        raise PolicyError(f"{name} = {value}: must have at most {PARAMETER_DECIMALS} decimals")
    return number


TABLE_POLICY = Policy()
