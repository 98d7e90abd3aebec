"""A record's value to its message, whatever format it is in: each record tells by its first bytes."""

from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from app.codecs import avro_binary
from app.codecs.avro_binary import Layout
from app.codecs.errors import BadRecord
from app.codecs.fields import shown
from app.codecs.framing import JSON_OBJECT, OutputFormat, frame
from app.codecs.messages_in import read_fill, read_signal
from app.codecs.records import FILL, SIGNAL, Record
from app.codecs.writer_schema import shipped_layouts
from app.core.messages import ErrorCode, Fill, Signal


class WriterSchemas(Protocol):
    """The schemas that a registry numbers."""

    def layout(self, schema_id: int, record: Record) -> Layout:
        """Return how a record is laid out by a schema, without waiting for anything.

        Raises BadRecord (UNKNOWN_SCHEMA), or SchemaPending if the registry has to be asked.
        """


class NoRegistry:
    """No registry is configured."""

    def layout(self, schema_id: int, record: Record) -> Layout:
        """Raise BadRecord."""
        raise BadRecord(
            ErrorCode.UNKNOWN_SCHEMA,
            f"a registry's schema {schema_id} is named, but the sizer has no registry (SIZER_SCHEMA_REGISTRY_URL); send"
            f" {record.name} as JSON or in Avro's single-object encoding",
        )


class Decoder:
    """Reads the values of signals and fills."""

    def __init__(self, schemas: WriterSchemas | None = None) -> None:
        """`schemas`: of a registry; None: there is none."""
        self._schemas = schemas or NoRegistry()

    def signal(self, value: bytes | None) -> Signal:
        """Return the signal in a record's value; raises BadRecord or SchemaPending."""
        if value and value[0] == JSON_OBJECT:
            return read_signal(_json_object(value))
        return read_signal(self._document(value, SIGNAL))

    def fill(self, value: bytes | None) -> Fill:
        """Return the fill in a record's value; raises BadRecord or SchemaPending."""
        if value and value[0] == JSON_OBJECT:
            return read_fill(_json_object(value))
        return read_fill(self._document(value, FILL))

    def _document(self, value: bytes | None, record: Record) -> Mapping[str, Any]:
        if not value:
            what = "there is no value" if value is None else "the value is empty"
            raise BadRecord(ErrorCode.UNDECODABLE, f"{what}; send a JSON object, or Avro")
        framed = frame(value)
        if framed is None:
            message = f"the value starts with {shown(value[:8])}, which is no format known here; send a JSON object"
            raise BadRecord(ErrorCode.UNDECODABLE, message)
        if framed.format is OutputFormat.AVRO:
            layout = self._schemas.layout(framed.schema_id, record)
        else:
            layout = _shipped_layout(framed.fingerprint, record)
        return avro_binary.read(layout, value, framed.body)


_plain = Decoder()
decode_signal = _plain.signal
decode_fill = _plain.fill


def _shipped_layout(fingerprint: bytes, record: Record) -> Layout:
    name, layout = shipped_layouts().get(fingerprint, ("", ()))
    if name != record.name:
        what = f"is that of {name}" if name else "is of none of the sizer's schemas"
        raise BadRecord(
            ErrorCode.UNKNOWN_SCHEMA,
            f"the schema's fingerprint {fingerprint.hex()} {what}; use schemas/avro/{record.name}.avsc or send JSON",
        )
    return layout


def _json_object(value: bytes) -> Mapping[str, Any]:
    try:
        document: Mapping[str, Any] = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        message = f"not JSON: {error}; send one valid JSON object, UTF-8"
        raise BadRecord(ErrorCode.UNDECODABLE, message) from None
    return document
