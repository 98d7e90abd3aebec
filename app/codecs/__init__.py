"""Bytes to messages and back: which format a record is in, what makes it invalid, the canonical bytes of an answer."""

from app.codecs.errors import BadRecord, SchemaPending
from app.codecs.json_output import canonical_time, encode_phase_event, encode_sized_order
from app.codecs.output import JSON_OUTPUT, Encoders, encoders
from app.codecs.wire_format import Decoder, WriterSchemas, decode_fill, decode_signal

__all__ = [
    "JSON_OUTPUT",
    "BadRecord",
    "Decoder",
    "Encoders",
    "SchemaPending",
    "WriterSchemas",
    "canonical_time",
    "decode_fill",
    "decode_signal",
    "encode_phase_event",
    "encode_sized_order",
    "encoders",
]
