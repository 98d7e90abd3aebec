"""Avro's binary encoding of flat records: what the four are made of, and nothing else.

fastavro takes twice as long for one, and reads what is none: a negative branch or symbol, numbers of any length. Here,
whatever the bytes are, reading them is one pass over them, and memory is bounded by them.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from struct import Struct
from struct import error as struct_error
from typing import Any, Final, NamedTuple

from app.codecs.errors import BadRecord
from app.codecs.fields import UnusableDecimal
from app.codecs.records import DECIMAL_PRECISION, DECIMAL_SCALE, Kind
from app.core.exact import AMOUNT_LIMIT, CONTEXT, plain
from app.core.messages import ErrorCode

TEXT, UNITS, NUMBER, SYMBOL, DOUBLE, BOOLEAN = range(6)
"""How a field is encoded: UTF-8, a decimal's unscaled integer, a whole number, an enum's index, a double, a boolean."""
ENCODING: Final = {
    Kind.STRING: TEXT,
    Kind.ENUM: SYMBOL,
    Kind.DECIMAL: UNITS,
    Kind.DOUBLE: DOUBLE,
    Kind.TIME: NUMBER,
    Kind.INT: NUMBER,
    Kind.LONG: NUMBER,
    Kind.BOOLEAN: BOOLEAN,
}
LARGEST_UNITS: int = 10**DECIMAL_PRECISION - 1
"""The largest decimal(38, 12), in units of its scale."""

_LONGEST_UNITS = 64
"""Bytes of a decimal, more than any has that is taken: what is longer is not looked at."""
_NUMBER_BITS = 64
_SEVEN_BITS = 0x7F
"""Of a number in each byte; a byte above it tells that another follows."""
_REMEMBERED = 10_000
_DOUBLE = Struct("<d")
_ONE_BYTE = [bytes((number,)) for number in range(0x80)]
_NULL, _VALUE = _ONE_BYTE[0], _ONE_BYTE[2]
_NULL_BRANCH, _VALUE_BRANCH = 0, 2
"""The indexes 0 and 1 of a union's branches as they are written, zigzag."""


class Slot(NamedTuple):
    """Where a writer put a field: the slots of a record stand in the order of its bytes."""

    name: str
    encoding: int
    nullable: bool
    detail: Any = None
    """Of a decimal its scale, of an enum its symbols in the writer's order."""


Layout = Sequence[Slot]


def read(layout: Layout, data: bytes, at: int) -> dict[str, Any]:  # noqa: C901, PLR0912 - a call for each field costs
    """Return the fields of the record that begins at `at` and ends with the data.

    Decimals are `Decimal` in their shortest form, or `UnusableDecimal`; times integer microseconds; enums their symbol.

    Raises BadRecord (UNDECODABLE).
    """
    document: dict[str, Any] = {}
    size = len(data)
    name = ""
    try:
        for name, encoding, nullable, detail in layout:
            if nullable:
                branch = data[at]
                at += 1
                if branch == _NULL_BRANCH:
                    document[name] = None
                    continue
                if branch != _VALUE_BRANCH:
                    raise _undecodable(f"{name} is neither null nor a value")
            if encoding == DOUBLE:
                (document[name],) = _DOUBLE.unpack_from(data, at)
                at += 8
                continue
            number = data[at]
            at += 1
            if number > _SEVEN_BITS:
                number, at = _long_number(name, data, at)
            if encoding == TEXT or encoding == UNITS:  # noqa: SIM109, PLR1714 - a tuple of both takes longer
                end = at + (number >> 1)
                if number & 1 or end > size:
                    raise _undecodable(f"{name} is said to have {_signed(number)} bytes, but there are {size - at}")
                piece = data[at:end]
                at = end
                document[name] = piece.decode() if encoding == TEXT else _decimal(piece, detail)
            elif encoding == NUMBER:
                document[name] = _signed(number)
            elif encoding == SYMBOL:
                if number & 1 or number >> 1 >= len(detail):
                    raise _undecodable(f"{name} is said to be symbol {_signed(number)} of {len(detail)}")
                document[name] = detail[number >> 1]
            else:
                if number > 1:
                    raise _undecodable(f"{name} is neither true nor false")
                document[name] = number == 1
    except (IndexError, struct_error):
        raise _undecodable(f"the value ends before or within {name}") from None
    except UnicodeDecodeError as error:
        raise _undecodable(f"{name} is not UTF-8 ({error.reason})") from None
    if at != size:
        raise _undecodable(f"{size - at} bytes follow the last field")
    return document


def write(layout: Layout, values: Iterable[Any]) -> bytes:
    """Return the record with these values, one for each slot, as `read` gives them.

    A decimal beyond decimal(38, 12) becomes the largest there is.
    """
    parts: list[bytes] = []
    add = parts.append
    for (_, encoding, nullable, detail), value in zip(layout, values, strict=True):
        if nullable:
            if value is None:
                add(_NULL)
                continue
            add(_VALUE)
        if encoding == UNITS:
            add(_units(value))
        elif encoding == TEXT:
            text = value.encode()
            add(_number(len(text)))
            add(text)
        elif encoding == NUMBER:
            add(_number(value))
        elif encoding == SYMBOL:
            add(_number(detail.index(value)))
        elif encoding == DOUBLE:
            add(_DOUBLE.pack(value))
        else:
            add(_ONE_BYTE[value])
    return b"".join(parts)


def _long_number(name: str, data: bytes, at: int) -> tuple[int, int]:
    """Return a number of more than one byte as it is written, zigzag, and where it ends; `at`: its second byte."""
    number = data[at - 1] & _SEVEN_BITS
    bits = 7
    while True:
        part = data[at]
        at += 1
        number |= (part & _SEVEN_BITS) << bits
        if part <= _SEVEN_BITS:
            break
        bits += 7
        if bits >= _NUMBER_BITS:
            break
    if part > _SEVEN_BITS or number >> _NUMBER_BITS:
        raise _undecodable(f"a number of {name} has more than 64 bits")
    return number, at


def _signed(number: int) -> int:
    """Undo the zigzag."""
    return number >> 1 ^ -(number & 1)


def _number(value: int) -> bytes:
    number = value << 1 ^ value >> _NUMBER_BITS - 1
    if number <= _SEVEN_BITS:
        return _ONE_BYTE[number]
    written = bytearray()
    while number > _SEVEN_BITS:
        written.append(number & _SEVEN_BITS | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _decimal(units: bytes, scale: int) -> Decimal | UnusableDecimal:
    if not units:
        return UnusableDecimal("has no bytes; a decimal has at least one, 0 is one byte of 0")
    if len(units) > _LONGEST_UNITS:
        return UnusableDecimal(f"is a decimal of {len(units)} bytes; send less than 10^15 in absolute value")
    return _short_decimal(units, scale)


@lru_cache(maxsize=_REMEMBERED)  # commissions, lots and prices come again and again
def _short_decimal(units: bytes, scale: int) -> Decimal | UnusableDecimal:
    value = Decimal(int.from_bytes(units, "big", signed=True)).scaleb(-scale, CONTEXT)
    text = plain(value)
    if len(text.partition(".")[2]) > DECIMAL_SCALE and value.copy_abs() < AMOUNT_LIMIT:
        return UnusableDecimal(f"{text} has more than {DECIMAL_SCALE} decimals; round it, it must be exact")
    return Decimal(text)


@lru_cache(maxsize=_REMEMBERED)  # as in JSON: a policy's parameters, a portfolio's value and its limit
def _units(value: Decimal) -> bytes:
    """Return a decimal's bytes with their length before them."""
    whole = int(value.scaleb(DECIMAL_SCALE, CONTEXT))
    whole = max(-LARGEST_UNITS, min(whole, LARGEST_UNITS))
    # As few bytes as hold it and its sign, as Java's BigInteger has it.
    length = (whole if whole >= 0 else ~whole).bit_length() // 8 + 1
    written = whole.to_bytes(length, "big", signed=True)
    return _number(length) + written


def _undecodable(what: str) -> BadRecord:
    return BadRecord(ErrorCode.UNDECODABLE, f"not Avro of its schema: {what}; send one record, in the schema's order")
