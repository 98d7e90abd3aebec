"""Avro: bytes behind the framing of single-object encoding, and schemas as a registry may give them."""

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

import orjson

from app.codecs import BadRecord, decode_fill, decode_signal
from app.codecs.avro_schema import avro_schema, crc_64
from app.codecs.framing import single_object_header
from app.codecs.records import FILL, SIGNAL, Record
from app.codecs.writer_schema import LONGEST_TEXT, accept
from app.core.messages import ErrorCode, Fill, Signal
from tests import avro_peer
from tests.fuzz.codec_targets import LONGEST_MESSAGE

T = TypeVar("T")

CODES = {ErrorCode.UNDECODABLE, ErrorCode.INVALID}
SCHEMAS = {record.name: avro_schema(record) for record in (SIGNAL, FILL)}
HEADS = {name: single_object_header(crc_64(schema)) for name, schema in SCHEMAS.items()}


def signal(data: bytes) -> str:
    """Decode a signal."""
    return _check("Signal", decode_signal, data)


def fill(data: bytes) -> str:
    """Decode a fill."""
    return _check("Fill", decode_fill, data)


def schema(data: bytes) -> str:
    """Judge a schema: what is taken has our fields, each once, and its bytes are read by it."""
    text = data.decode("utf-8", "replace")
    layout = _or_bad(lambda: accept(text, SIGNAL))
    if isinstance(layout, BadRecord):
        assert layout.code == ErrorCode.UNKNOWN_SCHEMA
        assert 0 < len(layout.message) <= LONGEST_MESSAGE
        return layout.code
    assert len(text) <= LONGEST_TEXT
    names = [slot.name for slot in layout]
    ours = [field.name for field in SIGNAL.fields]
    assert len(names) == len(set(names))
    assert set(names) <= set(ours)
    assert all(field.name in names for field in SIGNAL.fields if not field.nullable)
    given = {field["name"]: field["type"] for field in orjson.loads(text)["fields"]}
    for slot in layout:
        assert slot.nullable == isinstance(given[slot.name], list)
    return "taken"


def _check(name: str, decode: Callable[[bytes], Signal | Fill], data: bytes) -> str:
    message = _or_bad(lambda: decode(HEADS[name] + data))
    if isinstance(message, BadRecord):
        assert message.code in CODES
        assert 0 < len(message.message) <= LONGEST_MESSAGE
        if message.code == ErrorCode.INVALID:
            avro_peer.decode(SCHEMAS[name], data)  # else it is not the fields that are wrong
        return message.code
    taken = message._asdict()
    assert avro_peer.decode(SCHEMAS[name], data) == taken
    assert decode(HEADS[name] + avro_peer.encode(SCHEMAS[name], taken)) == message
    assert decode(orjson.dumps({key: _as_json(value) for key, value in taken.items()})) == message
    return "taken"


def _or_bad(decode: Callable[[], T]) -> T | BadRecord:
    try:
        return decode()
    except BadRecord as bad:
        return bad


def _as_json(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format(value, "f")
    assert not isinstance(value, float) or math.isfinite(value)
    return value


def kept(record: Record) -> bytes:
    """Return the body of a valid record, for the corpus."""
    full: dict[str, Any] = {
        "signal_id": "S-1", "portfolio_id": "PF-1", "symbol": "ESZ6", "side": "BUY", "confidence": 0.9,
        "price": Decimal("5000.25"), "portfolio_value": Decimal(100_000), "strategy_id": "trend",
        "generated_at": 1_769_860_800_000_000, "expires_at": 1_769_860_860_000_000,
        "exec_id": "E-1", "order_id": "O-1", "exec_type": "TRADE", "position_effect": "CLOSE", "last_qty": Decimal(1),
        "last_px": Decimal("4999.75"), "leaves_qty": Decimal(0), "commission": Decimal("-0.02"),
        "realized_pnl": Decimal("-12.5"), "transact_time": 1_769_860_801_000_000,
    }  # fmt: skip
    return avro_peer.encode(SCHEMAS[record.name], full)
