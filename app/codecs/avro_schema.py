"""The records as Avro schemas, and those of all releases: what a writer may have written by."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from fastavro.schema import fingerprint, to_parsing_canonical_form

from app.codecs.records import (
    DECIMAL_PRECISION,
    DECIMAL_SCALE,
    NAMESPACE,
    RECORDS,
    REQUIRED,
    Field,
    Kind,
    Record,
)

FINGERPRINT_LENGTH = 8
RELEASED = Path(__file__).parent / "released"
"""One folder for each release whose schemas differ from those of the one before; `.avsc` files by record."""

_PLAIN = {
    Kind.STRING: "string",
    Kind.DOUBLE: "double",
    Kind.INT: "int",
    Kind.LONG: "long",
    Kind.BOOLEAN: "boolean",
}


def avro_schema(record: Record) -> dict[str, Any]:
    """Return a record's schema, as the content of an `.avsc` file."""
    return {
        "type": "record",
        "name": record.name,
        "namespace": NAMESPACE,
        "doc": record.doc,
        "fields": [_field(field) for field in record.fields],
    }


def schema_text(record: Record) -> str:
    """Return a record's schema as it is registered: without white space."""
    return orjson.dumps(avro_schema(record)).decode()


def crc_64(schema: Mapping[str, Any]) -> bytes:
    """Return the CRC-64-AVRO fingerprint of a schema as single-object encoding has it: 8 bytes, little-endian."""
    # fastavro gives those bytes as hex digits.
    return bytes.fromhex(fingerprint(to_parsing_canonical_form(dict(schema)), "CRC-64-AVRO"))


@cache
def shipped_schemas() -> Mapping[bytes, tuple[str, Mapping[str, Any]]]:
    """Return the schemas of this release and of all before it, by fingerprint: a record's name and its schema."""
    schemas = [orjson.loads(path.read_bytes()) for path in sorted(RELEASED.glob("*/*.avsc"))]
    schemas += [avro_schema(record) for record in RECORDS]
    return {crc_64(schema): (schema["name"], schema) for schema in schemas}


def _field(field: Field) -> dict[str, Any]:
    schema: dict[str, Any] = {"name": field.name, "type": _type(field), "doc": field.doc}
    if field.default is not REQUIRED:
        schema["default"] = _default(field)
    return schema


def _type(field: Field) -> Any:
    schema: Any
    if field.kind is Kind.ENUM:
        assert field.symbols is not None
        doc = (field.symbols.__doc__ or "").splitlines()[0]
        schema = {"type": "enum", "name": field.symbols.__name__, "doc": doc, "symbols": list(field.symbols)}
    elif field.kind is Kind.DECIMAL:
        schema = {
            "type": "bytes",
            "logicalType": "decimal",
            "precision": DECIMAL_PRECISION,
            "scale": DECIMAL_SCALE,
        }
    elif field.kind is Kind.TIME:
        schema = {"type": "long", "logicalType": "timestamp-micros"}
    else:
        schema = _PLAIN[field.kind]
    return ["null", schema] if field.nullable else schema


def _default(field: Field) -> str | None:
    if field.kind is not Kind.DECIMAL or field.default is None:
        assert field.default is None or isinstance(field.default, str)
        return field.default
    # Bytes are written as code points up to 255 (Avro specification); 0 is one byte of zero.
    assert field.default == 0
    return "\x00"
