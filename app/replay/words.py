"""Numbers, times and lengths of time as a person reads them."""

from decimal import Decimal

from app.codecs.fields import from_epoch
from app.core.exact import plain

_MICROSECONDS = 1_000_000
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def number(value: Decimal | int | None) -> str:
    """Return an amount exactly, with commas between thousands."""
    if value is None:
        return "none"
    whole, point, fraction = plain(Decimal(value)).partition(".")
    return f"{int(whole):,}" + point + fraction if whole.strip("-0") else whole + point + fraction


def percent(fraction: Decimal) -> str:
    """Return a fraction as percent, exactly."""
    return f"{plain(fraction * 100)} %"


def when(microseconds: int) -> str:
    """Return a time, in UTC, no longer than it must be."""
    text = from_epoch(microseconds).strftime("%Y-%m-%d %H:%M:%S")
    fraction = microseconds % _MICROSECONDS
    return f"{text}.{fraction:06}".rstrip("0") if fraction else text


def how_long(microseconds: int) -> str:
    """Return a length of time in its two largest units."""
    if abs(microseconds) < 60 * _MICROSECONDS:
        return f"{plain(Decimal(microseconds) / _MICROSECONDS)} s"
    seconds, told = abs(microseconds) // _MICROSECONDS, []
    for size, unit in _UNITS:
        count, seconds = divmod(seconds, size)
        if count:
            told.append(f"{count} {unit}")
    if seconds:
        told.append(f"{seconds} s")
    return ("-" if microseconds < 0 else "") + " ".join(told[:2])
