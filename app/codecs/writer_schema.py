"""Which schemas a record may be written by: ours, and those that differ from ours in nothing that matters.

A schema from a registry is anybody's text. It is looked at field by field, nothing in it is followed: neither its size
nor its nesting is work.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson

from app.codecs.avro_binary import ENCODING, Layout, Slot
from app.codecs.avro_schema import avro_schema, shipped_schemas
from app.codecs.errors import BadRecord
from app.codecs.fields import shown
from app.codecs.records import NAMESPACE, RECORDS, REQUIRED, Field, Kind, Record
from app.core.messages import ErrorCode

LONGEST_TEXT = 65_536
"""Characters of a schema; ours have some 3,000."""
_LONGEST_PRECISION = 76
"""What decimals of 256 bits have."""
_AVRO_TYPES = {
    Kind.STRING: "string",
    Kind.ENUM: "enum",
    Kind.DECIMAL: "bytes",
    Kind.DOUBLE: "double",
    Kind.TIME: "long",
    Kind.INT: "int",
    Kind.LONG: "long",
    Kind.BOOLEAN: "boolean",
}


def accept(text: str, record: Record) -> Layout:
    """Return how a record is laid out by a schema, given as JSON text.

    Raises BadRecord (UNKNOWN_SCHEMA) if it is not one of this record, with what to do.
    """
    if len(text) > LONGEST_TEXT:
        raise _unknown(record, f"the schema has {len(text):,} characters, at most {LONGEST_TEXT:,} are looked at")
    try:
        schema = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _unknown(record, "the schema is not JSON") from None
    return accept_schema(schema, record)


def accept_schema(schema: Any, record: Record) -> Layout:
    """Return how a record is laid out by a schema, given as a document. Raises BadRecord (UNKNOWN_SCHEMA)."""
    if not isinstance(schema, dict) or schema.get("type") != "record":
        raise _unknown(record, "the schema is not that of a record")
    if (name := _full_name(schema, "")) != record.full_name:
        raise _unknown(record, f"the schema is that of {shown(name)}")
    given = schema.get("fields")
    if not isinstance(given, list):
        raise _unknown(record, "the schema has no fields")
    known = {field.name: field for field in record.fields}
    slots = []
    for document in given:
        field = known.pop(document["name"], None) if _is_named(document) else None
        if field is None:
            which = shown(document["name"]) if _is_named(document) else shown(document)
            raise _unknown(record, f"the schema's field {which} is none of ours, or comes twice")
        slots.append(_slot(field, document.get("type"), _namespace(schema, ""), record))
    for field in known.values():
        if field.default is REQUIRED:
            raise _unknown(record, f"the schema has no field {field.name}, which has no default")
    return tuple(slots)


@cache
def layout(record: Record) -> Layout:
    """Return how this release writes a record."""
    return accept_schema(orjson.loads(orjson.dumps(avro_schema(record))), record)


@cache
def shipped_layouts() -> Mapping[bytes, tuple[str, Layout]]:
    """Return the layouts of the schemas of this and all earlier releases, by fingerprint, with their record's name."""
    records = {record.name: record for record in RECORDS}
    return {
        fingerprint: (name, accept_schema(schema, records[name]))
        for fingerprint, (name, schema) in shipped_schemas().items()
    }


def _slot(field: Field, given: Any, namespace: str, record: Record) -> Slot:
    inner = given
    if field.nullable:
        if not isinstance(given, list) or len(given) != 2 or given[0] != "null":  # noqa: PLR2004 - null and the type
            raise _unknown(record, f"the schema's field {field.name} must be a union of null and its type, null first")
        inner = given[1]
    schema: Mapping[str, Any] = inner if isinstance(inner, dict) else {"type": inner}
    detail: Any = None
    is_ours = schema.get("type") == _AVRO_TYPES[field.kind]
    if is_ours and field.kind is Kind.ENUM:
        detail = _symbols(field, schema, namespace)
        is_ours = detail is not None
    elif is_ours and field.kind is Kind.DECIMAL:
        detail = _scale(schema)
        is_ours = detail is not None
    elif is_ours and field.kind is Kind.TIME:
        is_ours = schema.get("logicalType") == "timestamp-micros"
    elif is_ours:
        is_ours = "logicalType" not in schema
    if not is_ours:
        raise _unknown(record, f"the schema's field {field.name} has the type {shown(given)}")
    return Slot(field.name, ENCODING[field.kind], field.nullable, detail)


def _symbols(field: Field, schema: Mapping[str, Any], namespace: str) -> tuple[str, ...] | None:
    """Return a writer's symbols, in its order: all or some of ours; None if it is another enum."""
    assert field.symbols is not None
    symbols = schema.get("symbols")
    if _full_name(schema, namespace) != f"{NAMESPACE}.{field.symbols.__name__}" or not isinstance(symbols, list):
        return None
    ours = {str(symbol) for symbol in field.symbols}
    if not symbols or not all(isinstance(symbol, str) and symbol in ours for symbol in symbols):
        return None
    return tuple(symbols) if len(set(symbols)) == len(symbols) else None


def _scale(schema: Mapping[str, Any]) -> int | None:
    """Return the scale of a decimal; None if it is none."""
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    is_valid = (
        schema.get("logicalType") == "decimal"
        and type(precision) is int
        and type(scale) is int
        and 0 <= scale <= precision <= _LONGEST_PRECISION
        and precision > 0
    )
    return scale if is_valid else None


def _is_named(document: Any) -> bool:
    return isinstance(document, dict) and isinstance(document.get("name"), str)


def _full_name(schema: Mapping[str, Any], namespace: str) -> str | None:
    """Return the name of a record or an enum with its namespace (Avro specification, "Names")."""
    name = schema.get("name")
    if not isinstance(name, str):
        return None
    if "." in name:
        return name
    space = schema.get("namespace", namespace)
    if not isinstance(space, str):  # it may be nested deeper than Python can show
        return None
    return f"{space}.{name}" if space else name


def _namespace(schema: Mapping[str, Any], namespace: str) -> str:
    """Return the namespace that holds within a record."""
    return (_full_name(schema, namespace) or "").rpartition(".")[0]


def _unknown(record: Record, what: str) -> BadRecord:
    return BadRecord(
        ErrorCode.UNKNOWN_SCHEMA,
        f"{what}; write by the sizer's schema of {record.full_name} (schemas/avro/{record.name}.avsc), or send JSON",
    )
