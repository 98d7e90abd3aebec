"""The records as JSON Schemas (2020-12): of inputs all that is taken, of outputs the canonical form.

What JSON Schema cannot say stands in the descriptions.
"""

from typing import Any

from app.codecs.records import DECIMAL_SCALE, REQUIRED, Field, Kind, Limit, Record

_INTEGER_DIGITS = 15
_END = r"$(?!\n)"
"""In Python and Java `$` also matches before a last line feed."""
_HALF_UNIT = float(f"5e-{DECIMAL_SCALE + 1}")
"""What rounds to 0, half-even, and below."""
_INPUT_DECIMAL = rf"0*[0-9]{{1,{_INTEGER_DIGITS}}}(\.[0-9]{{1,{DECIMAL_SCALE}}})?{_END}"
_PATTERNS = {
    Limit.NONE: f"^-?{_INPUT_DECIMAL}",
    Limit.POSITIVE: f"^(?=.*[1-9]){_INPUT_DECIMAL}",
    Limit.NOT_NEGATIVE: f"^(-(?=[0.]*{_END}))?{_INPUT_DECIMAL}",
}
_LOWEST: dict[Limit, dict[str, float]] = {
    Limit.NONE: {"exclusiveMinimum": -1e15},
    Limit.POSITIVE: {"exclusiveMinimum": _HALF_UNIT},
    Limit.NOT_NEGATIVE: {"minimum": -_HALF_UNIT},
}
_OUTPUT_DECIMAL = rf"(0|[1-9][0-9]*)(\.[0-9]*[1-9])?{_END}"
_TIME_INPUT = {
    "type": "string",
    "pattern": (
        r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
        rf"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9]){_END}"
    ),
    "description": "RFC 3339 with Z or a numeric offset; 1970 to 9999 (UTC); digits beyond microseconds are cut",
}
_TIME_NUMBER = {
    "type": "integer",
    "minimum": 0,
    "maximum": 253_402_300_799_999_999,
    "description": "microseconds since 1970; a literal with a fraction or an exponent is not taken",
}
_TIME_OUTPUT = {
    "type": "string",
    "pattern": rf"^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}\.[0-9]{{6}}Z{_END}",
}
_ID = {"type": "string", "minLength": 1, "maxLength": 128, "pattern": rf"^[^\u0000-\u001F\u007F]*{_END}"}
_TEXTS = {
    Limit.NONE: _ID,
    Limit.UUID: {
        "type": "string",
        "pattern": f"^[0-9a-f]{{8}}-[0-9a-f]{{4}}-5[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}{_END}",
    },
    Limit.POLICY_ID: {"type": "string", "pattern": f"^[0-9a-f]{{16}}{_END}"},
    Limit.FREE_TEXT: {"type": "string"},
}
_RANGES: dict[Limit, dict[str, int]] = {
    Limit.PROBABILITY: {"minimum": 0, "maximum": 1},
    Limit.COUNT: {"minimum": 0},
    Limit.SEQUENCE: {"minimum": 1},
    Limit.OFFSET: {"minimum": -1},
    Limit.PHASE: {"minimum": 1, "maximum": 3},
}
_ZERO = {
    "anyOf": [
        {"type": "string", "pattern": rf"^-?0+(\.0+)?{_END}"},
        {"type": "number", "minimum": -_HALF_UNIT, "maximum": _HALF_UNIT},
        {"type": "null"},
    ]
}


def json_schema(record: Record, *, is_input: bool) -> dict[str, Any]:
    """Return a record's JSON Schema. Fields that are not named are allowed: a later release may have more."""
    field_schema = _input_field if is_input else _output_field
    schema: dict[str, Any] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{record.full_name.replace('_', '-').replace('.', ':')}",
        "title": record.name,
        "description": record.doc,
        "type": "object",
        "required": [field.name for field in record.fields if not is_input or field.default is REQUIRED],
        "properties": {field.name: field_schema(field) for field in record.fields},
    }
    if any(field.name == "exec_type" for field in record.fields):
        schema |= _trades_have_quantity_and_price()
    return schema


def _trades_have_quantity_and_price() -> dict[str, Any]:
    above_zero = {name: _input_decimal(Limit.POSITIVE) for name in ("last_qty", "last_px")}
    return {
        "if": {"properties": {"exec_type": {"const": "TRADE"}}},
        "then": {"required": list(above_zero), "properties": above_zero},
        "else": {"properties": dict.fromkeys(above_zero, _ZERO)},
    }


def _input_field(field: Field) -> dict[str, Any]:
    if field.kind is Kind.DECIMAL:
        schema = _input_decimal(field.limit)
    elif field.kind is Kind.TIME:
        schema = {"anyOf": [_TIME_INPUT, _TIME_NUMBER]}
    else:
        schema = _plain(field)
    if field.default is REQUIRED:
        return {"description": field.doc, **schema}
    default = "0" if field.default == 0 else field.default
    return {"description": field.doc, "anyOf": [*schema.get("anyOf", [schema]), {"type": "null"}], "default": default}


def _input_decimal(limit: Limit) -> dict[str, Any]:
    text = {
        "type": "string",
        "pattern": _PATTERNS[limit],
        "description": "at most 12 decimals, below 10^15 in absolute value",
    }
    number = {
        "type": "number",
        **_LOWEST[limit],
        "exclusiveMaximum": 1e15,
        "description": "read as a double and rounded half-even to 12 decimals; send a string to be exact",
    }
    return {"anyOf": [text, number]}


def _output_field(field: Field) -> dict[str, Any]:
    if field.kind is Kind.DECIMAL:
        sign = "" if field.limit in (Limit.POSITIVE, Limit.NOT_NEGATIVE) else "(?!-0$)-?"
        schema: dict[str, Any] = {"type": "string", "pattern": f"^{sign}{_OUTPUT_DECIMAL}"}
    elif field.kind is Kind.TIME:
        schema = dict(_TIME_OUTPUT)
    else:
        schema = _plain(field)
    if not field.nullable:
        return {"description": field.doc, **schema}
    if "enum" in schema:
        return {"description": field.doc, "enum": [*schema["enum"], None]}
    return {"description": field.doc, **schema, "type": [schema["type"], "null"]}


def _plain(field: Field) -> dict[str, Any]:
    match field.kind:
        case Kind.STRING:
            return dict(_TEXTS[field.limit])
        case Kind.ENUM:
            return {"enum": list(field.symbols or ())}
        case Kind.DOUBLE:
            return {"type": "number", **_RANGES[field.limit]}
        case Kind.BOOLEAN:
            return {"type": "boolean"}
        case _:
            return {"type": "integer", **_RANGES[field.limit]}
