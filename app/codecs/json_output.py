"""The canonical JSON bytes of an answer: equal messages have equal bytes, so a decision can be compared by them."""

from decimal import Decimal
from enum import StrEnum
from typing import Any

import orjson

from app.codecs.fields import from_epoch
from app.core.exact import plain
from app.core.messages import PhaseEvent, SizedOrder

TIMES = frozenset({"decided_at", "send_before", "expires_at", "at"})
_SMALLEST_PLAIN_DOUBLE = 1e-4
"""From here on the serializer writes a probability without an exponent."""


def encode_sized_order(sized_order: SizedOrder) -> bytes:
    """Return the record's value."""
    return _encode(sized_order)


def encode_phase_event(event: PhaseEvent) -> bytes:
    """Return the record's value."""
    return _encode(event)


def canonical_time(microseconds: int) -> str:
    """Return `YYYY-MM-DDThh:mm:ss.ffffffZ`, always with six digits."""
    return from_epoch(microseconds).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _encode(message: SizedOrder | PhaseEvent) -> bytes:
    return orjson.dumps({name: _value(name, value) for name, value in zip(message._fields, message, strict=True)})


def _value(name: str, value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, float):
        return _double(value)
    if name in TIMES and value is not None:
        return canonical_time(value)
    return value


def _double(value: float) -> float | orjson.Fragment:
    if value == 0 or abs(value) >= _SMALLEST_PLAIN_DOUBLE:
        return value
    return orjson.Fragment(format(Decimal(repr(value)), "f"))
