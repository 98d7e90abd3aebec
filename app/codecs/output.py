"""How answers are written, and read again: in any format, with or without a registry's numbers."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import orjson

from app.codecs import avro_binary, fields
from app.codecs.avro_binary import Layout
from app.codecs.avro_schema import avro_schema, crc_64
from app.codecs.errors import BadRecord
from app.codecs.framing import OutputFormat, confluent_header, frame, single_object_header
from app.codecs.json_output import canonical_time, encode_phase_event, encode_sized_order
from app.codecs.records import PHASE_EVENT, SIZED_ORDER, Kind, Record
from app.codecs.wire_format import WriterSchemas
from app.codecs.writer_schema import layout, shipped_layouts
from app.core.exact import plain
from app.core.messages import ErrorCode, PhaseEvent, SizedOrder


class Encoders(NamedTuple):
    """From an answer to its record's value."""

    sized_order: Callable[[SizedOrder], bytes]
    phase_event: Callable[[PhaseEvent], bytes]


JSON_OUTPUT = Encoders(encode_sized_order, encode_phase_event)


def encoders(formats: Mapping[Record, OutputFormat], schema_ids: Mapping[Record, int]) -> Encoders:
    """Return the encoders for an output format of each record, JSON where none is given.

    `schema_ids`: the registry's numbers of the records in Confluent framing.
    """
    headers = {
        record: single_object_header(crc_64(avro_schema(record)))
        if chosen is OutputFormat.AVRO_SINGLE_OBJECT
        else confluent_header(schema_ids[record])
        for record, chosen in formats.items()
        if chosen is not OutputFormat.JSON
    }
    return Encoders(
        _avro_encoder(SIZED_ORDER, headers[SIZED_ORDER]) if SIZED_ORDER in headers else encode_sized_order,
        _avro_encoder(PHASE_EVENT, headers[PHASE_EVENT]) if PHASE_EVENT in headers else encode_phase_event,
    )


def _avro_encoder(record: Record, header: bytes) -> Callable[[SizedOrder | PhaseEvent], bytes]:
    slots, write = layout(record), avro_binary.write
    return lambda message: header + write(slots, message)


def read_output(value: bytes | None, record: Record, schemas: WriterSchemas | None = None) -> dict[str, Any]:
    """Return the document in an answer's value, in whatever format it is, with values as JSON has them.

    `schemas`: of the registry that its writer used; None: in Confluent framing the number is not looked at, and it is
    read by whichever schema of the sizer's fits.

    Raises BadRecord if it is none of the sizer's answers, or SchemaPending.
    """
    framed = frame(value) if value else None
    if framed is None:
        raise BadRecord(ErrorCode.UNDECODABLE, "it is neither a JSON object nor Avro")
    assert value is not None
    if framed.format is OutputFormat.JSON:
        try:
            document: dict[str, Any] = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise BadRecord(ErrorCode.UNDECODABLE, "it is not JSON") from None
        return document
    kinds = {field.name: field.kind for field in record.fields}
    _, read = _read_avro(value, record, schemas)
    return {name: _as_json(kinds[name], given) for name, given in read.items()}


def in_format_of(published: bytes | None, made: bytes, record: Record, schemas: WriterSchemas | None) -> bytes:
    """Return an answer, given as canonical JSON, as it would stand in the format of a published one.

    The published one can be read (`read_output`).
    """
    framed = frame(published) if published else None
    if published is None or framed is None or framed.format is OutputFormat.JSON:
        return made
    slots, _ = _read_avro(published, record, schemas)
    kinds = {field.name: field.kind for field in record.fields}
    document = orjson.loads(made)
    values = [_from_json(kinds[slot.name], slot.name, document[slot.name]) for slot in slots]
    return published[: framed.body] + avro_binary.write(slots, values)


def _read_avro(value: bytes, record: Record, schemas: WriterSchemas | None) -> tuple[Layout, dict[str, Any]]:
    framed = frame(value)
    assert framed is not None
    ours = {fingerprint: slots for fingerprint, (name, slots) in shipped_layouts().items() if name == record.name}
    if framed.format is OutputFormat.AVRO_SINGLE_OBJECT:
        candidates = [ours[framed.fingerprint]] if framed.fingerprint in ours else []
    elif schemas is None:
        candidates = list(ours.values())
    else:
        candidates = [slots for slots in ours.values() if slots == schemas.layout(framed.schema_id, record)]
    if not candidates:
        raise BadRecord(ErrorCode.UNKNOWN_SCHEMA, f"its schema is none that the sizer writes {record.name} by")
    for number, slots in enumerate(candidates, start=1):
        try:
            return slots, avro_binary.read(slots, value, framed.body)
        except BadRecord:
            if number == len(candidates):
                raise
    raise AssertionError("there is a candidate, and it is read or raises")


def _as_json(kind: Kind, value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    return canonical_time(value) if kind is Kind.TIME and value is not None else value


def _from_json(kind: Kind, name: str, value: Any) -> Any:
    if value is None:
        return None
    if kind is Kind.DECIMAL:
        return Decimal(value)
    return fields.time(name, value) if kind is Kind.TIME else value
