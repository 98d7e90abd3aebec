"""Which format a record is in, by its first bytes, record by record."""

from collections.abc import Mapping
from typing import Any

import orjson

from app.codecs.errors import BadRecord
from app.codecs.fields import shown
from app.codecs.messages_in import read_fill, read_signal
from app.core.messages import ErrorCode, Fill, Signal

_CONFLUENT_MAGIC = 0x00
_CONFLUENT_HEADER = 5
_SINGLE_OBJECT_MARKER = b"\xc3\x01"
_SINGLE_OBJECT_HEADER = 10
_JSON_OBJECT = ord("{")


def decode_signal(value: bytes | None) -> Signal:
    """Return the signal in a record's value; raises BadRecord."""
    return read_signal(_document(value))


def decode_fill(value: bytes | None) -> Fill:
    """Return the fill in a record's value; raises BadRecord."""
    return read_fill(_document(value))


def _document(value: bytes | None) -> Mapping[str, Any]:
    if not value:
        what = "there is no value" if value is None else "the value is empty"
        raise BadRecord(ErrorCode.UNDECODABLE, f"{what}; send a JSON object")
    if value[0] == _JSON_OBJECT:
        return _json_object(value)
    if value[0] == _CONFLUENT_MAGIC and len(value) >= _CONFLUENT_HEADER:
        schema_id = int.from_bytes(value[1:_CONFLUENT_HEADER], "big")
        message = f"a registry's schema {schema_id} is named, but no schema registry is configured; send JSON"
        raise BadRecord(ErrorCode.UNKNOWN_SCHEMA, message)
    if value.startswith(_SINGLE_OBJECT_MARKER) and len(value) >= _SINGLE_OBJECT_HEADER:
        fingerprint = value[2:_SINGLE_OBJECT_HEADER].hex()
        raise BadRecord(ErrorCode.UNKNOWN_SCHEMA, f"Avro schema fingerprint {fingerprint} is not known; send JSON")
    message = f"the value starts with {shown(value[:8])}, which is no format known here; send a JSON object"
    raise BadRecord(ErrorCode.UNDECODABLE, message)


def _json_object(value: bytes) -> Mapping[str, Any]:
    try:
        document: Mapping[str, Any] = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        message = f"not JSON: {error}; send one valid JSON object, UTF-8"
        raise BadRecord(ErrorCode.UNDECODABLE, message) from None
    return document
