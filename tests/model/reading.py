"""Reading, for the reference model: bytes -> Signal or Fill as a plain dict, or why not (rules: types, inputs).

Written from the contract alone; it shares nothing with the application. Money is a `Fraction`, a time is integer
microseconds since the epoch, a confidence is a float.
"""

from __future__ import annotations

import json
import re
from datetime import date
from fractions import Fraction
from typing import Any

import orjson

DAY = 86_400_000_000
LAST_TIME = 253_402_300_799_999_999  # 9999-12-31T23:59:59.999999Z
DECIMAL_TEXT = re.compile(r"-?[0-9]+(\.[0-9]{1,12})?", re.ASCII)
TIME_TEXT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)


class InvalidError(Exception):
    """A field breaks its type or its rule."""


def round_half_even(number: Fraction, places: int) -> Fraction:
    """Round to so many decimal places, ties to even (`round` of a Fraction is exact and half-even)."""
    return Fraction(round(number * 10**places), 10**places)


def round_down(number: Fraction, places: int) -> Fraction:
    """Round a number that is not negative down to so many decimal places."""
    return Fraction(number * 10**places // 1, 10**places)


def require(condition: bool) -> None:  # noqa: FBT001 - reads as a sentence
    """Raise InvalidError unless the condition holds."""
    if not condition:
        raise InvalidError


def read_string(raw: Any) -> str:
    """Read a `str`: 1 to 128 code points without control characters and surrogates."""
    require(type(raw) is str and 1 <= len(raw) <= 128)
    for character in raw:
        point = ord(character)
        require(point > 0x1F and point != 0x7F and not 0xD800 <= point <= 0xDFFF)
    return str(raw)


def read_decimal(raw: Any) -> Fraction:
    """Read a `decimal`: a string, an exact integer literal, or a double by its shortest repr; |x| < 10^15."""
    if type(raw) is str:
        require(DECIMAL_TEXT.fullmatch(raw) is not None)
        whole, _, part = raw.lstrip("-").partition(".")
        whole = whole.lstrip("0") or "0"  # int() refuses thousands of digits, zeros too
        require(len(whole) <= 15)
        number = Fraction(int(whole)) + (Fraction(int(part), 10 ** len(part)) if part else 0)
        number = -number if raw.startswith("-") else number
    elif type(raw) is tuple and raw[0] == "integer":
        number = Fraction(int(raw[1]))
    elif type(raw) is tuple:
        number = round_half_even(Fraction(repr(float(raw[1]))), 12)
    else:
        raise InvalidError
    require(abs(number) < 10**15)
    return number


def read_time(raw: Any) -> int:
    """Read a `time`: RFC 3339 text or integer microseconds, 1970 to 9999."""
    if type(raw) is str:
        micros = read_time_text(raw)
    else:
        require(type(raw) is tuple and raw[0] == "integer")
        micros = int(raw[1])
    require(0 <= micros <= LAST_TIME)
    return micros


def read_time_text(text: str) -> int:
    """Read RFC 3339 text to microseconds, digits beyond them cut; no leap second."""
    match = TIME_TEXT.fullmatch(text)
    if match is None:
        raise InvalidError
    year, month, day, hour, minute, second = (int(group) for group in match.groups()[:6])
    require(hour < 24 and minute < 60 and second < 60)
    try:
        days = date(year, month, day).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        raise InvalidError from None
    micros = ((days * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000
    micros += int(((match[7] or ".") + "000000")[1:7])
    zone = match[8]
    if zone not in "Zz":
        hours, minutes = int(zone[1:3]), int(zone[4:6])
        require(hours < 24 and minutes < 60)
        micros += (hours * 60 + minutes) * 60_000_000 * (1 if zone[0] == "-" else -1)
    return micros


def read_confidence(raw: Any) -> float:
    """Read a double in [0, 1]; an integer literal is one too."""
    require(type(raw) is tuple)
    confidence = float(int(raw[1])) if raw[0] == "integer" else float(raw[1])
    require(0 <= confidence <= 1)
    return confidence


def read_choice(*choices: str) -> Any:
    """Make a reader of an enumeration."""

    def read(raw: Any) -> str:
        require(type(raw) is str and raw in choices)
        return str(raw)

    return read


REQUIRED = object()  # in place of a default
SIGNAL_FIELDS: dict[str, tuple[Any, Any]] = {
    "signal_id": (read_string, REQUIRED),
    "portfolio_id": (read_string, REQUIRED),
    "symbol": (read_string, REQUIRED),
    "side": (read_choice("BUY", "SELL"), REQUIRED),
    "confidence": (read_confidence, REQUIRED),
    "price": (read_decimal, None),
    "portfolio_value": (read_decimal, None),
    "strategy_id": (read_string, None),
    "generated_at": (read_time, REQUIRED),
    "expires_at": (read_time, None),
}
FILL_FIELDS: dict[str, tuple[Any, Any]] = {
    "exec_id": (read_string, REQUIRED),
    "order_id": (read_string, REQUIRED),
    "portfolio_id": (read_string, REQUIRED),
    "exec_type": (read_choice("TRADE", "CANCELED", "REJECTED", "EXPIRED"), REQUIRED),
    "position_effect": (read_choice("OPEN", "CLOSE"), "OPEN"),
    "last_qty": (read_decimal, Fraction(0)),
    "last_px": (read_decimal, Fraction(0)),
    "leaves_qty": (read_decimal, None),
    "commission": (read_decimal, Fraction(0)),
    "realized_pnl": (read_decimal, None),
    "portfolio_value": (read_decimal, None),
    "transact_time": (read_time, REQUIRED),
}


def read_message(topic: str, value: bytes | None) -> dict[str, Any] | str:
    """Give the Signal or Fill in these bytes, or the first code that holds: UNDECODABLE, UNKNOWN_SCHEMA, INVALID."""
    if value is None:
        return "UNDECODABLE"
    if (value[:1] == b"\x00" and len(value) >= 5) or (value[:2] == b"\xc3\x01" and len(value) >= 10):
        return "UNKNOWN_SCHEMA"  # no registry here, and Avro is beyond this model
    if value[:1] != b"{":
        return "UNDECODABLE"
    try:
        orjson.loads(value)  # the judge of what is JSON; what it means is read with the literals kept
    except orjson.JSONDecodeError:
        return "UNDECODABLE"
    raw = json.loads(
        value.decode(),
        parse_int=lambda literal: ("integer", literal),
        parse_float=lambda literal: ("double", literal),
    )
    message: dict[str, Any] = {}
    try:
        for name, (read, default) in (SIGNAL_FIELDS if topic == "signals" else FILL_FIELDS).items():
            given = raw.get(name)
            require(given is not None or default is not REQUIRED)
            message[name] = default if given is None else read(given)
        check_signs(topic, message)
    except InvalidError:
        return "INVALID"
    return message


def check_signs(topic: str, message: dict[str, Any]) -> None:
    """Check the rules of sign; raises InvalidError."""
    if topic == "signals":
        require(message["price"] is None or message["price"] > 0)
        return
    require(message["leaves_qty"] is None or message["leaves_qty"] >= 0)
    for name in ("last_qty", "last_px"):
        require(message[name] > 0 if message["exec_type"] == "TRADE" else message[name] == 0)
