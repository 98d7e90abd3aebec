"""Ways to write a valid message unusually, and to spoil it: one field at a time, or its bytes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import orjson

from tests.model.policies import decimal_text
from tests.model.reading import DAY, LAST_TIME, round_half_even
from tests.model.reference import time_text

SECOND = 1_000_000


class Literal(str):
    """JSON text to put in place of a value, as it is."""

    __slots__ = ()


def has_literal(message: dict[str, Any]) -> bool:
    """Tell whether a message can only be sent as text."""
    return any(isinstance(value, Literal) for value in message.values())


def message_text(message: dict[str, Any], rng: random.Random) -> str:
    """Write a message as JSON text, now and then with white space, an unknown field or a repeated one."""
    space = rng.choice(["", "", "", " ", "\n\t"])
    fields = []
    for name, value in message.items():
        text = str(value) if isinstance(value, Literal) else orjson.dumps(value).decode()
        if rng.random() < 0.01:
            fields.append(f'"{name}":{rng.choice(["null", "17", text])}')  # the last one counts
        fields.append(f"{orjson.dumps(name).decode()}{space}:{space}{text}")
    if rng.random() < 0.05:
        fields.insert(rng.randrange(len(fields) + 1), '"unknown":{"a":[1,2.5e3,null,true],"":""}')
    end = rng.choice(["", "", "\n", "  "])
    return "{" + space + f"{space},{space}".join(fields) + space + "}" + end


def number(value: Fraction, rng: random.Random, *, exact: bool = False) -> Any:
    """Write a decimal in one of the ways the contract knows; `exact` keeps its value."""
    value = round_half_even(value, 12)
    text = decimal_text(value)
    way = rng.random()
    if way < 0.6:
        return text
    if way < 0.66 and "." not in text:
        return text + "." + "0" * rng.randint(1, 12)
    if way < 0.7:
        return text.replace("-", "-00") if text[0] == "-" else "000" + text
    if value.denominator == 1 and abs(value) < 2**63:
        return int(value)
    if exact:
        return text
    return rng.choice([float(value), Literal(f"{float(value):.14e}"), Literal(f"{float(value):.12E}"), text])


def moment(micros: int, rng: random.Random) -> Any:
    """Write a time in one of the ways the contract knows."""
    micros = min(max(micros, 0), LAST_TIME)
    text = time_text(micros)
    ways: list[Any] = [micros] * 5 + [text] * 5
    ways += [text[:-1] + end for end in ("9Z", "000Z", "999999999z", "5+00:00", "1-00:00")] + [text.lower()] * 2
    if micros % SECOND == 0:
        ways += [text[:19] + "Z", text[:19] + ".0Z"]
    offset = rng.choice([60, -60, 330, -570, 1, 1439, -1439])
    shifted = micros + offset * 60 * SECOND
    if 0 <= shifted <= LAST_TIME:
        sign = "+" if offset > 0 else "-"
        ways += [f"{time_text(shifted)[:-1]}{sign}{abs(offset) // 60:02d}:{abs(offset) % 60:02d}"] * 3
    return rng.choice(ways)


BAD_ANY: list[Any] = [True, False, [], {}, [1], {"a": 1}]
BAD_STRINGS: list[Any] = [
    *BAD_ANY, None, "", 17, 1.5, "x" * 129, "é" * 129, "a\x00b", "a\tb", "\x1f", "\x7f", "line\n", "\U0001f600" * 129,
]  # fmt: skip
GOOD_STRINGS: list[Any] = [
    "x" * 128, "\U0001f600" * 128, " ", "\x80\x9f", 'a"b\\c/d', "é\u2028", "null", "\ufeffx", "<&>'", "e\u0301",
    Literal('"\\u0041\\ud83d\\ude00\\/"'),
]  # fmt: skip
BAD_DECIMALS: list[Any] = [
    *BAD_ANY, "", "x", "1.", ".5", "+1", "1e3", "1E3", " 1", "1 ", "1,5", "--1", "-", "1\n", "NaN", "Infinity",
    "0x10", "1_000", "1.1234567890123", "0.0000000000000", "1000000000000000", "-1000000000000000",
    "1000000000000000.5", "9" * 400, "0" * 5000 + "1" + "0" * 16, "\u0661", "\uff11", "1.\u0661", 10**15, -(10**15),
    1e15, -1e15, 2**63, 2**64 - 1, 1e300, Literal("1" + "0" * 30), Literal("-1" + "0" * 300),
    Literal("999999999999999.99999"), "1.5.5", "1-", "1\x00",
]  # fmt: skip
GOOD_DECIMALS: list[Any] = [
    "0" * 5000 + "7.5", "999999999999999.999999999999", "0.000000000001", "7.500000000000", 999999999999999, 1e-12,
    1.5e-12, 2.5e-12, Literal("2.5000000000000000000001e0"), Literal("0.1E2"), Literal("123456789012345.678"),
    0.30000000000000004, 1.00000000000049, 1.0000000000005, Literal("5.0000000000005"), 3.3333333333333335, 1e14,
    999999999999999.8,
]  # fmt: skip
ODD_DECIMALS: list[Any] = ["-0", "-0.0", 0, Literal("-0"), Literal("-0.0"), 1e-13, 5e-13, Literal("1e-400"), "-1", -0.5]
BAD_TIMES: list[Any] = [
    *BAD_ANY, None, "", "now", "2024-01-01", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00", "2024-01-01T00:00Z",
    "20240101T000000Z", "2024-13-01T00:00:00Z", "2024-02-30T00:00:00Z", "2023-02-29T00:00:00Z",
    "2024-01-01T24:00:00Z", "2024-01-01T00:60:00Z", "2024-12-31T23:59:60Z", "2016-12-31T23:59:60Z",
    "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00,5Z", "2024-01-01T00:00:00+0100", "2024-01-01T00:00:00+24:00",
    "2024-01-01T00:00:00+01:60", "2024-01-01T00:00:00+01", "2024-1-1T00:00:00Z", "0000-01-01T00:00:00Z",
    "1969-12-31T23:59:59.9999999Z", "1970-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "10000-01-01T00:00:00Z",
    "2024-01-01T00:00:00Z\n", "2024-01-01T00:00:00 Z", "\u0662024-01-01T00:00:00Z", "2024-01-01t00:00:00+1:00", -1,
    LAST_TIME + 1, 10**18, 1.7e15, 1704067200000000.0, Literal("1.704067200e15"), Literal("1704067200000000.0"),
    "1704067200000000", Literal("17040672000000000000000000"), Literal("1E15"), "0001-01-01T00:00:00+23:59",
    "2024-W01-1T00:00:00Z", "2024-001T00:00:00Z",
]  # fmt: skip
BAD_CONFIDENCES: list[Any] = [
    *BAD_ANY, None, "0.9", "", -0.1, 1.1, 1.0000000000000002, 2, -1, Literal("-1e-300"), Literal("1e300"), 10**18,
    Literal("9" * 300),
]  # fmt: skip
CONFIDENCES: list[Any] = [
    0.6, 0.85, 0.5999999999999999, 0.6000000000000001, 0.8500000000000001, 0.8499999999999999, 0, 1, 1.0, 0.0, 1e-7,
    5e-324, 1e-5, 0.30000000000000004, 0.59, 0.9, 0.7, 0.123456789012345678, 2.2250738585072014e-308,
    0.9999999999999999, -0.0, Literal("-0"), Literal("8.5e-1"), Literal("85E-2"),
    Literal("0.85000000000000000000000001"), Literal("0.59999999999999999999"), Literal("6e-1"),
    Literal("1.00000000000000000001"), Literal("1e-400"), Literal("0.8500000000000001"),
]  # fmt: skip
BAD_CHOICES: list[Any] = [*BAD_ANY, "", "buy", "Buy", "BUY ", "HOLD", "TRADES", "open", 1]

BAD_OF_KIND = {
    "decimal": BAD_DECIMALS + ODD_DECIMALS,
    "time": BAD_TIMES,
    "choice": BAD_CHOICES,
    "double": BAD_CONFIDENCES,
}
GOOD_OF_KIND: dict[str, list[Any]] = {
    "decimal": GOOD_DECIMALS,
    "time": [0, LAST_TIME, "1970-01-01T00:00:00-23:59", "2000-02-29T23:59:59.1234567+14:00", 5 * DAY],
    "choice": ["BUY", "SELL", "OPEN", "CLOSE", "TRADE", "CANCELED", "REJECTED", "EXPIRED"],
    "double": CONFIDENCES,
}
DECIMALS = {"price", "portfolio_value", "last_qty", "last_px", "leaves_qty", "commission", "realized_pnl"}
TIMES = {"generated_at", "expires_at", "transact_time"}
CHOICES = {"side", "exec_type", "position_effect"}


def kind_of(name: str) -> str:
    """Give the kind of a field."""
    if name in DECIMALS:
        return "decimal"
    if name in TIMES:
        return "time"
    if name in CHOICES:
        return "choice"
    return "double" if name == "confidence" else "string"


def spoil(message: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Give a copy with one field of another type, out of its range, null or missing (nearly always INVALID)."""
    spoilt = dict(message)
    name = rng.choice(list(message))
    way = rng.random()
    if way < 0.08:
        del spoilt[name]
    elif way < 0.14:
        spoilt[name] = None
    else:
        spoilt[name] = rng.choice(BAD_OF_KIND.get(kind_of(name), BAD_STRINGS))
    return spoilt


def unusual(message: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Give a copy with one field unusual but right, as far as its name tells."""
    changed = dict(message)
    name = rng.choice(list(message))
    if name in {"order_id", "portfolio_id", "generated_at", "exec_type"}:
        return changed
    if name in {"position_effect", "last_qty", "last_px", "commission"} and rng.random() < 0.5:
        changed[name] = None
    else:
        changed[name] = rng.choice(GOOD_OF_KIND.get(kind_of(name), GOOD_STRINGS))
    return changed


def every_variant(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Give this message with every field missing, null, and of every good and bad value."""
    for name in message:
        yield {other: value for other, value in message.items() if other != name}
        kind = kind_of(name)
        for value in [None, *BAD_OF_KIND.get(kind, BAD_STRINGS), *GOOD_OF_KIND.get(kind, GOOD_STRINGS)]:
            yield message | {name: value}


def garbage(message: dict[str, Any], rng: random.Random) -> list[bytes]:
    """Give bytes that are no message, nearly all: broken JSON, frames without a schema, anything."""
    text = message_text(message, rng)
    body = text.encode()
    cut = rng.randrange(len(body))
    return [
        b"", b"{", b"{}", b"[]", b"null", b"1", b'"x"', b"\x00", b"\x00\x00\x00\x00", b"\x00\x00\x00\x00\x01",
        b"\xc3\x01", b"\xc3", b"\xc3\x01" + rng.randbytes(7), b"\xc3\x01" + rng.randbytes(8),
        b"\xc3\x01" + rng.randbytes(40), b"\x00" + rng.randbytes(4) + rng.randbytes(20), b"\x00" + rng.randbytes(3),
        b"\xc3\x02" + rng.randbytes(30), rng.randbytes(rng.randint(1, 40)), b" " + body, b"\n" + body,
        b"\xef\xbb\xbf" + body, body[:cut], body + b"x", body + body, body[:-1] + b",}", body + b"\x00",
        body.replace(b":", b"=", 1), b"\x00" + body, text.encode("utf-16"), b"{'a':1}",
        body[:cut] + b"\xff" + body[cut:], b'{"a":NaN,' + body[1:], b'{"a":Infinity,' + body[1:],
        b'{"a":1e400,' + body[1:], b'{"a":' + b"9" * 400 + b"," + body[1:], b'{"a":"\\ud800",' + body[1:],
        b'{"a":"\\udc00\\ud800",' + body[1:], b'{"a":01,' + body[1:], b'{"a":1.,' + body[1:], b'{"a":.5,' + body[1:],
        b'{"a":+1,' + body[1:], b'{"a":"\t",' + body[1:], b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"," + body[1:],
        b'{"a":' + b"[" * 300 + b"]" * 300 + b"," + body[1:], b"{//x\n" + body[1:],
        b'{"a":"\xed\xa0\x80",' + body[1:], b'{"a":"\xc0\x80",' + body[1:], b'{"\\ud800":1,' + body[1:],
        b'{"a":-,' + body[1:], b'{"a":1e-400,' + body[1:], b'{"a":True,' + body[1:],
        b'{"a":"\x7f\\u0000",' + body[1:],
    ]  # fmt: skip
