"""The canonical JSON bytes of an answer: equal messages have equal bytes, so a decision can be compared by them."""

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache
from typing import Any

import orjson

from app.codecs.fields import from_epoch
from app.core.exact import plain
from app.core.messages import PhaseEvent, SizedOrder

TIMES = frozenset({"decided_at", "send_before", "expires_at", "at"})
_MICROSECONDS = 1_000_000
_SECONDS_REMEMBERED = 10_000
_SMALLEST_PLAIN_DOUBLE = 1e-4
"""From here on the serializer writes a probability without an exponent."""

Write = Callable[[Any], Any]
Fields = tuple[tuple[str, Write | None], ...]


def encode_sized_order(sized_order: SizedOrder) -> bytes:
    """Return the record's value."""
    return _encode(_SIZED_ORDER, sized_order)


def encode_phase_event(event: PhaseEvent) -> bytes:
    """Return the record's value."""
    return _encode(_PHASE_EVENT, event)


def canonical_time(microseconds: int) -> str:
    """Return `YYYY-MM-DDThh:mm:ss.ffffffZ`, always with six digits."""
    seconds, fraction = divmod(microseconds, _MICROSECONDS)
    return f"{_second(seconds)}.{fraction:06}Z"


@lru_cache(maxsize=_SECONDS_REMEMBERED)  # most answers of one second share it
def _second(seconds: int) -> str:
    return from_epoch(seconds * _MICROSECONDS).strftime("%Y-%m-%dT%H:%M:%S")


def _double(value: float) -> float | orjson.Fragment:
    if value == 0 or abs(value) >= _SMALLEST_PLAIN_DOUBLE:
        return value
    return orjson.Fragment(format(Decimal(repr(value)), "f"))


def _fields(message: type[SizedOrder | PhaseEvent]) -> Fields:
    """Return a message's fields, each with the function that writes it; None: the serializer does."""
    by_type: dict[Any, Write] = {Decimal: plain, Decimal | None: plain, float: _double}
    return tuple(
        (name, canonical_time if name in TIMES else by_type.get(kind)) for name, kind in message.__annotations__.items()
    )


_SIZED_ORDER = _fields(SizedOrder)
_PHASE_EVENT = _fields(PhaseEvent)


def _encode(fields: Fields, message: SizedOrder | PhaseEvent) -> bytes:
    return orjson.dumps(
        {
            name: value if write is None or value is None else write(value)
            for (name, write), value in zip(fields, message, strict=True)
        }
    )
