"""How records are written and read in the demo: as JSON, or as Avro in Confluent framing.

Generator and venue are strangers to the sizer, so they use Confluent's own serializers with the shipped schemas. The
onlooker asks no registry: it takes either format for what it is.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from app.codecs import Decoder
from app.codecs.avro_binary import Layout
from app.codecs.avro_schema import schema_text
from app.codecs.records import SIZED_ORDER, Kind, Record
from app.codecs.writer_schema import layout
from app.core.exact import plain
from app.demo.desk import Encode, Message, rfc3339
from app.demo.market import SECOND
from app.settings import Settings
from app.stream.registry import connect_registry


def registry_client(settings: Settings) -> SchemaRegistryClient | None:
    """Return a client of the registry, if there is one."""
    return None if settings.schema_registry_url is None else connect_registry(settings)


def encoder(registry: SchemaRegistryClient | None, topic: str, record: Record) -> Encode:
    """Return how a message, with values as JSON has them, becomes the value of a record of this topic.

    `registry`: has the schema; None: it is written as JSON.
    """
    if registry is None:
        return orjson.dumps
    serialize = AvroSerializer(
        registry,
        schema_text(record),
        conf={"auto.register.schemas": False},  # they were, with all others; who sends shall not make new ones
    )
    context = SerializationContext(topic, MessageField.VALUE)
    kinds = {field.name: field.kind for field in record.fields}

    def encode(message: Message) -> bytes:
        value: bytes | None = serialize({name: _native(kinds[name], given) for name, given in message.items()}, context)
        assert value is not None
        return value

    return encode


def sized_order_reader(registry: SchemaRegistryClient | None, topic: str) -> Callable[[bytes | None], Message]:
    """Return how the value of a sized order becomes a message, with values as JSON has them."""
    if registry is None:
        return lambda value: orjson.loads(value or b"{}")
    deserialize = AvroDeserializer(registry, schema_text(SIZED_ORDER))
    context = SerializationContext(topic, MessageField.VALUE)

    def read(value: bytes | None) -> Message:
        fields = deserialize(value or b"", context)
        assert isinstance(fields, dict)
        return {name: _as_json(field) for name, field in fields.items()}

    return read


class _Ours:
    """Takes every numbered schema for the sizer's own, which all are that can be read here."""

    def layout(self, schema_id: int, record: Record) -> Layout:  # noqa: ARG002 - as the protocol has it
        return layout(record)


ONLOOKER = Decoder(_Ours())


def _native(kind: Kind, value: Any) -> Any:
    if value is None:
        return None
    if kind is Kind.DECIMAL:
        return Decimal(value)
    return datetime.fromisoformat(value) if kind is Kind.TIME else value


def _as_json(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, datetime):
        return rfc3339(int(value.timestamp()) * SECOND + value.microsecond)
    return value
