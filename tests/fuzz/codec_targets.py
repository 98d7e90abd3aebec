"""The codecs: a value is a message or a `BadRecord`; an independent reader agrees; what was taken is written again."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import orjson

from app.codecs import BadRecord, canonical_time, decode_fill, decode_signal
from app.core.exact import AMOUNT_LIMIT, plain
from app.core.messages import LAST_TIME, ErrorCode, Fill, Signal
from tests.model.reading import read_message

TIMES = {"generated_at", "expires_at", "transact_time"}
CODES = {ErrorCode.UNDECODABLE, ErrorCode.UNKNOWN_SCHEMA, ErrorCode.INVALID}
LONGEST_MESSAGE = 500
"""An error message shows a value shortened, however long the value is."""


def signal(data: bytes) -> str:
    """Decode a signal."""
    return _check("signals", decode_signal, data)


def fill(data: bytes) -> str:
    """Decode a fill."""
    return _check("fills", decode_fill, data)


def _check(topic: str, decode: Callable[[bytes], Signal | Fill], data: bytes) -> str:
    try:
        expected = read_message(topic, data)
    except RecursionError:  # the independent reader's JSON is not made for nesting up to orjson's limit
        expected = {}
    message = _decoded(decode, data)
    if isinstance(message, BadRecord):
        assert message.code in CODES
        assert 0 < len(message.message) <= LONGEST_MESSAGE
        assert expected in (message.code, {}), f"{message.code}, but it is {expected}"
        return message.code
    assert not isinstance(expected, str), f"taken, but it is {expected}"
    taken = message._asdict()
    for name, value in taken.items():
        _check_value(name, value)
    # Fractions are compared, exactly: a Decimal equals the Fraction of the same value only when made one.
    as_read = {name: Fraction(value) if isinstance(value, Decimal) else value for name, value in taken.items()}
    assert expected in (as_read, {})
    canonical = orjson.dumps({name: _canonical(name, value) for name, value in taken.items()})
    assert decode(canonical) == message
    return "taken"


def _decoded(decode: Callable[[bytes], Signal | Fill], data: bytes) -> Signal | Fill | BadRecord:
    try:
        return decode(data)
    except BadRecord as bad:
        return bad


def _check_value(name: str, value: Any) -> None:
    if isinstance(value, Decimal):
        assert value.is_finite()
        assert abs(value) < AMOUNT_LIMIT
        assert value == round(value, 12)
    elif isinstance(value, str):
        assert 1 <= len(value) <= 128
        assert value.encode()  # no surrogates
    elif isinstance(value, float):
        assert name == "confidence"
        assert 0 <= value <= 1
    else:
        assert value is None or (type(value) is int and 0 <= value <= LAST_TIME), f"{name} is {value!r}"


def _canonical(name: str, value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    return canonical_time(value) if name in TIMES and value is not None else value
