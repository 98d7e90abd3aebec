"""Which format a record is in, by its first bytes."""

from enum import StrEnum
from typing import NamedTuple

from app.codecs.avro_schema import FINGERPRINT_LENGTH

JSON_OBJECT = ord("{")
_CONFLUENT_MAGIC = 0x00
_CONFLUENT_HEADER = 5
_SINGLE_OBJECT_MARKER = b"\xc3\x01"
_SINGLE_OBJECT_HEADER = len(_SINGLE_OBJECT_MARKER) + FINGERPRINT_LENGTH


class OutputFormat(StrEnum):
    """How an answer may be written."""

    JSON = "json"
    AVRO = "avro"
    """In Confluent framing."""
    AVRO_SINGLE_OBJECT = "avro-single-object"


class Frame(NamedTuple):
    """What the first bytes of a value say of the rest."""

    format: OutputFormat
    body: int
    """Where the rest begins."""
    schema_id: int = 0
    """In Confluent framing: the writer's schema, as the registry numbers them."""
    fingerprint: bytes = b""
    """In single-object encoding: of the writer's schema."""


_JSON = Frame(OutputFormat.JSON, 0)


def frame(value: bytes) -> Frame | None:
    """Return what a value's first bytes say; None if it is in no known format."""
    if not value:
        return None
    if value[0] == JSON_OBJECT:
        return _JSON
    if value[0] == _CONFLUENT_MAGIC and len(value) >= _CONFLUENT_HEADER:
        return Frame(OutputFormat.AVRO, _CONFLUENT_HEADER, schema_id=int.from_bytes(value[1:_CONFLUENT_HEADER], "big"))
    if value.startswith(_SINGLE_OBJECT_MARKER) and len(value) >= _SINGLE_OBJECT_HEADER:
        fingerprint = value[len(_SINGLE_OBJECT_MARKER) : _SINGLE_OBJECT_HEADER]
        return Frame(OutputFormat.AVRO_SINGLE_OBJECT, _SINGLE_OBJECT_HEADER, fingerprint=fingerprint)
    return None


def confluent_header(schema_id: int) -> bytes:
    """Return the bytes before an Avro record in Confluent framing."""
    return bytes((_CONFLUENT_MAGIC,)) + schema_id.to_bytes(_CONFLUENT_HEADER - 1, "big")


def single_object_header(fingerprint: bytes) -> bytes:
    """Return the bytes before an Avro record in single-object encoding."""
    return _SINGLE_OBJECT_MARKER + fingerprint
