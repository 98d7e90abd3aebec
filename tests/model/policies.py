"""Policies, for the reference model: the table, what is tighter, and their canonical JSON (rules: locked policy)."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from typing import Any

from tests.model.reading import InvalidError, read_decimal, require

COUNTS = ("phase_2_trades", "phase_3_trades", "drawdown_on_losses", "drawdown_off_wins")
TIGHTER_IS_LARGER = 1
TIGHTER_IS_SMALLER = -1
TABLE: dict[str, tuple[str, int]] = {
    "base_fraction_1": ("0.001", TIGHTER_IS_SMALLER),
    "base_fraction_2": ("0.0025", TIGHTER_IS_SMALLER),
    "base_fraction_3": ("0.005", TIGHTER_IS_SMALLER),
    "confidence_full": ("0.85", TIGHTER_IS_LARGER),
    "confidence_minimum": ("0.6", TIGHTER_IS_LARGER),
    "multiplier_full": ("1", TIGHTER_IS_SMALLER),
    "multiplier_reduced": ("0.75", TIGHTER_IS_SMALLER),
    "drawdown_multiplier": ("0.5", TIGHTER_IS_SMALLER),
    "drawdown_on_losses": ("2", TIGHTER_IS_SMALLER),
    "drawdown_off_wins": ("2", TIGHTER_IS_LARGER),
    "exposure_limit": ("0.01", TIGHTER_IS_SMALLER),
    "phase_2_trades": ("20", TIGHTER_IS_LARGER),
    "phase_2_win_rate": ("0.55", TIGHTER_IS_LARGER),
    "phase_2_profit_factor": ("1.2", TIGHTER_IS_LARGER),
    "phase_3_trades": ("50", TIGHTER_IS_LARGER),
    "phase_3_win_rate": ("0.58", TIGHTER_IS_LARGER),
    "phase_3_profit_factor": ("1.5", TIGHTER_IS_LARGER),
    "reservation_ttl": ("900", 0),
}


class PolicyError(Exception):
    """A policy that is refused; the message names the parameter."""


def decimal_text(number: Fraction) -> str:
    """Write a number of at most 12 decimals plainly: no exponent, no trailing fractional zeros, no -0."""
    scaled = number * 10**12
    assert scaled.denominator == 1, number
    digits = str(abs(scaled.numerator)).rjust(13, "0")
    text = (digits[:-12] + "." + digits[-12:]).rstrip("0").rstrip(".")
    return "-" + text if number < 0 else text


def make_policy(given: dict[str, Any]) -> dict[str, Any]:
    """Make a policy of the given parameters and the table's others; `id` and `text` (canonical JSON) included."""
    for name in given:
        if name not in TABLE:
            raise PolicyError(name)
    policy: dict[str, Any] = {}
    for name, (default, tighter) in TABLE.items():
        raw = given.get(name, default)
        if type(raw) in {int, float}:
            raw = ("integer" if type(raw) is int else "double", repr(raw))
        try:
            number = read_decimal(raw)
            require((number * 10**6).denominator == 1 and number >= 0)
            require(name not in COUNTS or (number.denominator == 1 and number >= 1))
            require((number - Fraction(default)) * tighter >= 0)
            require(name != "reservation_ttl" or 60 <= number <= 86_400)
        except InvalidError:
            raise PolicyError(name) from None
        policy[name] = number
    text = ",".join(
        f'"{name}":{policy[name]}' if name in COUNTS else f'"{name}":"{decimal_text(policy[name])}"'
        for name in sorted(TABLE)
    )
    policy["text"] = "{" + text + "}"
    policy["id"] = hashlib.sha256(policy["text"].encode()).hexdigest()[:16]
    return policy
