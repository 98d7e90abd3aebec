"""Numbers and times for people. What is not known is an en dash."""

import math
from datetime import UTC, datetime
from decimal import Decimal

UNKNOWN = "\N{EN DASH}"
_MINUTE = 60
_HOUR = 3_600
_DAY = 86_400
_MINUS = "\N{MINUS SIGN}"


def money(value: Decimal | float | None) -> str:
    """Return an amount with two decimals: 1,234.50."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return _signed(f"{value:,.2f}")


def percent(share: float | None) -> str:
    """Return a share in percent with three digits: 0.0123 is 1.23 %."""
    if share is None or not math.isfinite(share):
        return UNKNOWN
    return f"{_signed(_three_digits(share * 100))} %"


def ratio(value: float) -> str:
    """Return a ratio with two decimals."""
    if math.isinf(value):
        return "∞"
    return UNKNOWN if math.isnan(value) else _signed(f"{value:,.2f}")


def duration(seconds: float) -> str:
    """Return a span of time in its two largest units: 2 d 3 h."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - one digit before the point
    units = ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s"))
    rest = int(seconds)
    parts: list[str] = []
    for size, name in units:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


def time(seconds: float | None) -> str:
    """Return a time in UTC, to the second."""
    if seconds is None:
        return UNKNOWN
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def time_of(microseconds: int | None) -> str:
    """Return a time in UTC, to the millisecond."""
    if microseconds is None:
        return UNKNOWN
    moment = datetime.fromtimestamp(microseconds // 1_000_000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{microseconds % 1_000_000 // 1000:03d}"


def count(number: int, one: str, many: str = "") -> str:
    """Return a number and its noun: 1 trade, 2 trades."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _three_digits(value: float) -> str:
    if not value:
        return "0"
    decimals = min(6, max(0, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{decimals}f}"


def _signed(text: str) -> str:
    if text.startswith("-"):
        return _MINUS + text[1:] if text.strip("-0.,") else text[1:]
    return text
