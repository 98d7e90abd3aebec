"""A neighbour that writes and reads Avro by avro-python3, which shares nothing with the application.

avro-python3 knows no logical types: decimals and times are made of what it gives here, by the specification.
"""

import io
import json
from decimal import ROUND_FLOOR, Context, Decimal
from functools import lru_cache
from typing import Any

import avro.io
import avro.schema

EXACT = Context(prec=400)


def encode(schema: dict[str, Any], document: dict[str, Any]) -> bytes:
    """Return a record by a schema; decimals are given as `Decimal`, times in integer microseconds."""
    plain = {field["name"]: _to_avro(field, document.get(field["name"])) for field in schema["fields"]}
    out = io.BytesIO()
    avro.io.DatumWriter(_parsed(schema)).write(plain, avro.io.BinaryEncoder(out))
    return out.getvalue()


def decode(schema: dict[str, Any], body: bytes, reader: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the record in the bytes, which must be all of them; `reader`: the schema to resolve it to."""
    source = io.BytesIO(body)
    datum_reader = avro.io.DatumReader(_parsed(schema), _parsed(reader or schema))
    document = datum_reader.read(avro.io.BinaryDecoder(source))
    assert source.read() == b""
    return {field["name"]: _from_avro(field, document[field["name"]]) for field in (reader or schema)["fields"]}


def _parsed(schema: dict[str, Any]) -> Any:
    return _parsed_text(json.dumps(schema))


@lru_cache
def _parsed_text(text: str) -> Any:
    return avro.schema.parse(text)


def _inner(field: dict[str, Any]) -> dict[str, Any]:
    kind = field["type"][1] if isinstance(field["type"], list) else field["type"]
    return kind if isinstance(kind, dict) else {"type": kind}


def _to_avro(field: dict[str, Any], value: Any) -> Any:
    inner = _inner(field)
    if value is None and not isinstance(field["type"], list):
        value = field.get("default")
        return value.encode("latin-1") if inner["type"] == "bytes" else value
    if isinstance(value, Decimal):
        units = value.scaleb(inner["scale"], EXACT)
        assert units == units.to_integral_value(ROUND_FLOOR, EXACT), "the test's own value does not fit the scale"
        return twos_complement(int(units))
    return str(value) if inner["type"] == "enum" and value is not None else value


def _from_avro(field: dict[str, Any], value: Any) -> Any:
    inner = _inner(field)
    if inner.get("logicalType") == "decimal" and value is not None:
        if isinstance(value, str):  # a default, which it does not decode
            value = value.encode("latin-1")
        return Decimal(int.from_bytes(value, "big", signed=True)).scaleb(-inner["scale"], EXACT)
    return value


def twos_complement(number: int) -> bytes:
    """Return the fewest bytes that hold a number and its sign."""
    length = 1
    while not -(1 << 8 * length - 1) <= number < 1 << 8 * length - 1:
        length += 1
    return number.to_bytes(length, "big", signed=True)
