"""Ways to spoil bytes: flips, cuts, splices, and tokens that parsers trip over, put where a value stood."""

import random
import re
from collections.abc import Sequence

# What a value is in JSON, TOML and NAME=value alike; a token put in its place keeps the rest readable.
_VALUE = re.compile(rb'"(?:[^"\\\n]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|nan|inf')
_DIGITS = re.compile(rb"[0-9]+")
_NAME = re.compile(rb'"[a-z_]+":')

NUMBERS = [
    b"0", b"-0", b"-0.0", b"1", b"-1", b"0.6", b"0.85", b"1.0000000000000002", b"5e-324", b"1e-400", b"1e308", b"1e309",
    b"1e15", b"999999999999999.9", b"1e-13", b"5e-13", b"1E+2", b"9007199254740993", b"9223372036854775807",
    b"9223372036854775808", b"18446744073709551615", b"18446744073709551616", b"-9223372036854775809", b"9" * 310,
    b"9" * 5_000, b"0x" + b"f" * 4_000, b"0o17", b"0b1", b"1_000", b"01", b"1.", b".5", b"+1", b"nan", b"-inf",
    b"Infinity", b"1e99999999999999999999", b"0." + b"0" * 400 + b"1", b"253402300799999999", b"253402300800000000",
    b"1767614400000000", b"60", b"86400", b"86401", b"0.001", b"0.0000001", b"20.5",
]  # fmt: skip
STRINGS = [
    b'""', b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\x00"', b'"\\u001f"', b'"\x1f"', b'"\x7f"', b'"\xff"',
    b'"\xed\xa0\x80"', b'"\xc0\x80"', b'"\xef\xbb\xbf"', b'"\\ufeff"', b'"\\n"', b'"\\r\\n"', b'"\xe2\x80\xa8"',
    b'"\xf0\x9f\x98\x80"', b'"' + b"x" * 128 + b'"', b'"' + b"x" * 129 + b'"', '"{}"'.format("é" * 128).encode(),
    b'"-0"', b'"-0.0"', b'"0.000000000001"', b'"0.0000000000001"', b'"999999999999999.999999999999"', b'"1e3"',
    b'"1000000000000000"', b'"' + b"0" * 5_000 + b'7.5"', b'"' + b"9" * 5_000 + b'"', b'"NaN"', b'"1\\n"',
    '"\u0661"'.encode(), b'"BUY"', b'"SELL"', b'"TRADE"', b'"CANCELED"', b'"OPEN"', b'"CLOSE"', b'"PF-1"', b'"$0"',
    b'"1970-01-01T00:00:00Z"', b'"9999-12-31T23:59:59.9999999Z"', b'"0000-01-01T00:00:00Z"', b'"2026-02-30T00:00:00Z"',
    b'"1970-01-01T00:00:00+00:01"', b'"9999-12-31T23:59:59-23:59"', b'"2026-01-05T12:00:00.' + b"9" * 400 + b'Z"',
    b'"2026-01-05T12:00:60Z"', b'"2026-01-05T12:00:00+24:00"', b'"2026-01-05t12:00:00z"', b"'x'", b'"""a\nb"""',
    b'"a\\nb"', b'"__streams.errors.exception"', b'"=="', b'"AAAAAAE="', b'"wwEBAgMEBQYHCA=="',
]  # fmt: skip
OTHERS = [
    b"null", b"true", b"false", b"{}", b"[]", b"[1]", b'{"a":1}', b"[" * 300 + b"]" * 300,
    b"[" * 1_000 + b"]" * 1_000, b"[" * 3_000, b"{" * 50,
    b'{"":' * 1_100, b"1979-05-27", b"1979-05-27T07:32:00Z", b"07:32:00",
]  # fmt: skip
PIECES = [
    b"\x00", b"\x00\x00\x00\x00\x01", b"\xc3\x01", b"\xc3\x01abcdefgh", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80",
    b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":", b"=", b"\n", b"\r", b"\t", b" ", b"\x1e", b"\x1f", b"\x7f", b"|",
    b"#", b"$1", b"${", b"a." * 400, b'"signal_id":"a",', b'"portfolio_id":null,', b'"value":null,',
    b'"value_base64":"?",', b'"offset":9223372036854775806,', b'"now":"9999-12-31T23:59:59Z",', b'"policy":{},',
    b'{"a":' + b"[" * 300 + b"]" * 300 + b",",
]  # fmt: skip
LONG = 1_000_000


def mutate(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Spoil bytes one to four times; `others`: inputs to splice with."""
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
        data = rng.choice(_WAYS)(rng, data, others)
    return data


def elongate(data: bytes, at: int) -> bytes:
    """Put a megabyte in place of a value, or somewhere."""
    values = list(_VALUE.finditer(data))
    if not values:
        return data + b"x" * LONG
    found = values[at % len(values)]
    filler = b"x" if at % 2 else b"7"
    return data[: found.start()] + b'"' + filler * LONG + b'"' + data[found.end() :]


def _flip(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(rng, data)
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :] if at < len(data) else data


def _overwrite(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(rng, data)
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _cut(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(rng, data)
    return data[:at] + data[at + rng.choice((1, 2, 8, 64, len(data))) :]


def _repeat(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(rng, data)
    piece = data[at : at + rng.choice((1, 8, 64, 512))]
    return data[:at] + piece * rng.choice((2, 2, 2, 20)) + data[at + len(piece) :]


def _insert(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(rng, data)
    return data[:at] + rng.choice(PIECES) + data[at:]


def _splice(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others) if others else data
    return data[: _place(rng, data)] + other[_place(rng, other) :]


def _replace_value(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return _replace(rng, _VALUE, data, rng.choice(rng.choice((NUMBERS, STRINGS, STRINGS, OTHERS))))


def _take_value(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Put a value that stands elsewhere in the place of another: equal ids are what states are made of."""
    values = _VALUE.findall(rng.choice(others) if others and rng.randrange(2) else data)
    return _replace(rng, _VALUE, data, rng.choice(values)) if values else data


def _step_number(rng: random.Random, data: bytes, _: Sequence[bytes]) -> bytes:
    found = _find(rng, _DIGITS, data)
    if found is None or len(found[0]) > 40:
        return data
    number = max(0, int(found[0]) + rng.choice((-1, 1, 1, 10, 86_400_000_000, -1_000_000)))
    return data[: found.start()] + b"%d" % number + data[found.end() :]


def _rename(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Give a field the name of another: one is repeated, one is missing."""
    names = _NAME.findall(rng.choice(others) if others else data)
    return _replace(rng, _NAME, data, rng.choice(names)) if names else data


def _find(rng: random.Random, pattern: re.Pattern[bytes], data: bytes) -> re.Match[bytes] | None:
    found = list(pattern.finditer(data))
    return rng.choice(found) if found else None


def _replace(rng: random.Random, pattern: re.Pattern[bytes], data: bytes, by: bytes) -> bytes:
    found = _find(rng, pattern, data)
    return data if found is None else data[: found.start()] + by + data[found.end() :]


def _place(rng: random.Random, data: bytes) -> int:
    return rng.randrange(len(data) + 1)


_WAYS = (
    *(_flip, _overwrite, _cut, _repeat, _insert, _splice, _rename, _take_value, _take_value, _step_number),
    *(_replace_value, _replace_value, _replace_value, _replace_value),
)
