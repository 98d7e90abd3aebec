"""One function per type of field: a value in, a checked value out, `BadRecord` (INVALID) with the cure if not.

A value is as JSON has it; from Avro a decimal is a `Decimal`, or an `UnusableDecimal`.

What is ordinary is told first and quickly; the tests behind it are for the error message.
"""

import re
import reprlib
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from app.codecs.errors import invalid
from app.core.exact import AMOUNT_LIMIT, ZERO, plain, to_amount
from app.core.messages import FIRST_TIME, LAST_TIME

MAXIMUM_LENGTH = 128
_LIMIT_DIGITS = AMOUNT_LIMIT.adjusted() + 1

_FORBIDDEN = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]{1,12})?")
# RFC 3339: `T` and `Z` may be lower case; a space instead of `T` and the leap second 60 are not taken.
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - offsets are applied by hand: an aware datetime cannot hold year 10000
_SECONDS_REMEMBERED = 10_000
_DECIMALS_REMEMBERED = 10_000
_SHOWN = 60
_SHOWER = reprlib.Repr()

E = TypeVar("E")


class UnusableDecimal(NamedTuple):
    """A decimal that was read but is none of ours; it is told when its field's turn comes."""

    reason: str


def shown(value: object) -> str:
    """Return a value as an error message shows it: short and ASCII."""
    if isinstance(value, Decimal):
        text = plain(value)
    else:
        # A document may be nested deeper than Python can show: `reprlib` stops a few levels down.
        text = _SHOWER.repr(value) if isinstance(value, list | dict) else ascii(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def required(name: str, value: Any) -> Any:
    """Take anything but null, which is also what a missing field is."""
    if value is None:
        raise invalid(f"{name}: is missing or null; it is required")
    return value


def string(name: str, value: Any) -> str:
    """Take 1 to 128 code points without control characters and surrogates. Required."""
    # Nothing printable is forbidden, and this is told quickly.
    if type(value) is str and 0 < len(value) <= MAXIMUM_LENGTH and value.isprintable():
        return value
    required(name, value)
    if not isinstance(value, str):
        raise invalid(f"{name}: {shown(value)} is not a string; send a JSON string of 1 to 128 characters")
    if not 1 <= len(value) <= MAXIMUM_LENGTH:
        raise invalid(f"{name}: has {len(value)} characters; send 1 to 128")
    if _FORBIDDEN.search(value):
        raise invalid(f"{name}: {shown(value)} has a control character or a surrogate; send it without")
    return value


def decimal(name: str, value: Any) -> Decimal:
    """Take a decimal string of at most 12 decimals, an integer, or a double by its shortest representation."""
    if isinstance(value, str):
        number = _short_decimal(value) if len(value) < _LIMIT_DIGITS else None
        if number is not None:
            return number
        if not _DECIMAL.fullmatch(value):
            raise invalid(f'{name}: {shown(value)} is not a decimal; send e.g. "12.5", at most 12 decimals')
        number = Decimal(value)
    elif isinstance(value, Decimal):
        number = value
    elif isinstance(value, UnusableDecimal):
        raise invalid(f"{name}: {value.reason}")
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(f'{name}: {shown(value)} is not a decimal; send a string such as "12.5" or a number')
    else:
        number = Decimal(repr(value))
        if isinstance(value, float) and number.copy_abs() < AMOUNT_LIMIT:
            number = to_amount(number)
    if number.copy_abs() >= AMOUNT_LIMIT:
        raise invalid(f"{name}: {shown(value)} is too large; send less than 10^15 in absolute value")
    return number


@lru_cache(maxsize=_DECIMALS_REMEMBERED)  # commissions, lots and prices come again and again
def _short_decimal(text: str) -> Decimal | None:
    """Return a decimal that is below the limit for its length; None if it is none."""
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


def positive(name: str, value: Any) -> Decimal:
    """Take a decimal above 0."""
    number = decimal(name, value)
    if number <= ZERO:
        raise invalid(f"{name}: {shown(value)} must be greater than 0 (after rounding to 12 decimals)")
    return number


def not_negative(name: str, value: Any) -> Decimal:
    """Take a decimal of at least 0."""
    number = decimal(name, value)
    if number < ZERO:
        raise invalid(f"{name}: {shown(value)} must not be negative")
    return number


def probability(name: str, value: Any) -> float:
    """Take a number from 0 to 1 as a double; booleans and quoted numbers are none. Required."""
    if type(value) is float and 0 <= value <= 1:
        return value
    required(name, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(f"{name}: {shown(value)} is not a number; send a JSON number from 0 to 1")
    if not 0 <= value <= 1:
        raise invalid(f"{name}: {shown(value)} is out of range; send a number from 0 to 1")
    return float(value)


def time(name: str, value: Any) -> int:
    """Take an RFC 3339 string or integer microseconds since the epoch, from 1970 to 9999."""
    if type(value) is int and FIRST_TIME <= value <= LAST_TIME:
        return value
    if isinstance(value, str):
        microseconds = _time_from_text(name, value)
    elif isinstance(value, bool) or not isinstance(value, int):
        raise invalid(
            f"{name}: {shown(value)} is not a time; send RFC 3339 such as 2026-01-31T12:00:00Z or integer microseconds"
        )
    else:
        microseconds = value
    if not FIRST_TIME <= microseconds <= LAST_TIME:
        raise invalid(f"{name}: {shown(value)} is out of range; send a time from 1970 to 9999 (UTC)")
    return microseconds


def _time_from_text(name: str, value: str) -> int:
    match = _TIME.fullmatch(value)
    if match is None:
        raise invalid(f"{name}: {shown(value)} is not RFC 3339 with Z or an offset; send e.g. 2026-01-31T12:00:00Z")
    day, clock, fraction, sign, hours, minutes = match.groups()
    try:
        seconds = _second(day, clock)
    except ValueError as error:
        raise invalid(f"{name}: {shown(value)} is no date and time that exists ({error})") from None
    if sign is not None:
        offset = int(hours) * 3_600 + int(minutes) * 60
        seconds += offset if sign == "-" else -offset
    return seconds * 1_000_000 + (int(fraction[:6].ljust(6, "0")) if fraction else 0)


@lru_cache(maxsize=_SECONDS_REMEMBERED)  # most records of one second share it
def _second(day: str, clock: str) -> int:
    since = datetime.fromisoformat(f"{day}T{clock}") - _EPOCH
    return since.days * 86_400 + since.seconds


def one_of(choices: dict[str, E]) -> Callable[[str, Any], E]:
    """Return the function that takes one of these words. Required."""
    expected = ", ".join(choices)

    def choose(name: str, value: Any) -> E:
        chosen = choices.get(value) if isinstance(value, str) else None
        if chosen is None:
            required(name, value)
            raise invalid(f"{name}: {shown(value)} is none of {expected}; send one of these")
        return chosen

    return choose


def from_epoch(microseconds: int) -> datetime:
    """Return integer microseconds since the epoch as an aware datetime."""
    seconds, fraction = divmod(microseconds, 1_000_000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=fraction)
